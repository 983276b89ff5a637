"""Loss of RT-DETRv2 with one device synchronization per step instead of hundreds.

Equal to `RTDetrForObjectDetectionLoss` of transformers 5.23, box_index processes images and layers
individually. Older versions, such as 5.17, also match boxes to the denoising queries of the last
layer, box_index prevents its regular queries from learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional


def set_loss(module: Any) -> None:
    """Set the loss of an `RTDetrV2ForObjectDetection`."""
    module.loss_function = _loss


def _loss(
    logits: Tensor,
    labels: Sequence[dict[str, Tensor]],
    device: torch.device,
    pred_boxes: Tensor,
    config: Any,
    outputs_class: Tensor,
    outputs_coord: Tensor,
    *,
    enc_topk_logits: Tensor,
    enc_topk_bboxes: Tensor,
    denoising_meta_values: dict[str, Any] | None = None,
    **_: Any,
) -> tuple[Tensor, dict[str, Tensor], None]:
    """Return the loss of all layers (B, L, Q, ...), the encoder's proposals and denoising."""
    counts = np.array([len(label["boxes"]) for label in labels])
    class_ids = torch.cat([label["class_labels"] for label in labels])
    boxes = torch.cat([label["boxes"] for label in labels])
    n_boxes = max(1, int(counts.sum()))
    parts = {}
    if denoising_meta_values is not None:
        sizes, n_groups = (
            denoising_meta_values["dn_num_split"],
            denoising_meta_values["dn_num_group"],
        )
        dn_class, outputs_class = torch.split(outputs_class, sizes, dim=2)
        dn_coord, outputs_coord = torch.split(outputs_coord, sizes, dim=2)
        starts = np.cumsum(counts) - counts
        box_index = [
            np.tile(np.arange(n) + start, n_groups) for n, start in zip(counts, starts, strict=True)
        ]
        image = np.repeat(np.arange(len(counts)), counts * n_groups)
        image_, box_index_ = torch.from_numpy(np.stack([image, np.concatenate(box_index)])).to(
            device
        )
        query = torch.cat(list(denoising_meta_values["dn_positive_idx"]))
        n_layers = dn_class.shape[1]
        rows = (
            image_.repeat(n_layers),
            torch.arange(n_layers, device=device).repeat_interleave(len(query)),
            query.repeat(n_layers),
        )
        box_index_ = box_index_.repeat(n_layers)
        parts["dn"] = _sums(
            dn_class, dn_coord, rows, class_ids[box_index_], boxes[box_index_], config
        )
        parts["dn"] = parts["dn"] / (n_boxes * n_groups)
    all_logits = torch.cat([outputs_class, enc_topk_logits[:, None]], dim=1)
    all_boxes = torch.cat([outputs_coord, enc_topk_bboxes[:, None]], dim=1)
    image, layer, query, box_index = _match(all_logits, all_boxes, class_ids, boxes, counts, config)
    rows = (image, layer, query)
    sums = _sums(all_logits, all_boxes, rows, class_ids[box_index], boxes[box_index], config)
    parts["matched"] = sums / n_boxes
    return torch.stack(list(parts.values())).sum(), parts, None


@torch.no_grad()
def _match(
    logits: Tensor, boxes: Tensor, class_ids: Tensor, truth: Tensor, counts: Any, config: Any
) -> Tensor:
    """Return image, layer, query and box index of each matched pair, as rows of a tensor."""
    device = logits.device
    image = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
    place = class_ids[:, None, None, None].expand(-1, *logits.shape[1:3], 1)
    chance = torch.sigmoid(logits[image].gather(3, place)[..., 0])  # (N, L, Q)
    alpha, gamma = config.matcher_alpha, config.matcher_gamma
    wrong = (1 - alpha) * chance**gamma * -(1 - chance + 1e-8).log()
    right = alpha * (1 - chance) ** gamma * -(chance + 1e-8).log()
    mine, theirs = boxes[image], truth[:, None, None]
    cost = (
        config.matcher_class_cost * (right - wrong)
        + config.matcher_bbox_cost * (mine - theirs).abs().sum(-1)
        - config.matcher_giou_cost * _overlaps(mine, theirs)[1]
    )
    matches, stop = [np.zeros((4, 0), np.int64)], 0
    all_costs = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=1e6).transpose(0, 1)
    costs = all_costs.contiguous().cpu().numpy()  # (L, N, Q)
    for i, count in enumerate(counts):
        start, stop = stop, stop + count
        if not count:
            continue
        for layer in range(costs.shape[0]):
            box_index, query = linear_sum_assignment(costs[layer, start:stop])
            same = np.ones_like(box_index)
            matches.append(np.stack([i * same, layer * same, query, box_index + start]))
    return torch.from_numpy(np.concatenate(matches, axis=1)).to(device)


def _sums(
    logits: Tensor,
    boxes: Tensor,
    rows: tuple[Tensor, Tensor, Tensor],
    class_ids: Tensor,
    truth: Tensor,
    config: Any,
) -> Tensor:
    """Return the weighted sum of the varifocal, the L1 and the GIoU loss; `rows` are matched."""
    matched = boxes[rows]
    iou, giou = _overlaps(matched, truth)
    score = torch.zeros_like(logits)
    score[(*rows, class_ids)] = iou.detach()
    one_hot = torch.zeros_like(logits)
    one_hot[(*rows, class_ids)] = 1.0
    chance = torch.sigmoid(logits.detach())
    alpha, gamma = config.focal_loss_alpha, config.focal_loss_gamma
    weight = alpha * chance**gamma * (1 - one_hot) + score
    varifocal = functional.binary_cross_entropy_with_logits(
        logits, score, weight=weight, reduction="sum"
    )
    return (
        config.weight_loss_vfl * varifocal
        + config.weight_loss_bbox * (matched - truth).abs().sum()
        + config.weight_loss_giou * (1 - giou).sum()
    )


def _overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and GIoU of pairs of boxes `cx, cy, w, h`."""
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    low_, high_ = others[..., :2] - others[..., 2:] / 2, others[..., :2] + others[..., 2:] / 2
    shared = (torch.minimum(high, high_) - torch.maximum(low, low_)).clamp(min=0).prod(-1)
    union = (high - low).prod(-1) + (high_ - low_).prod(-1) - shared
    around = (torch.maximum(high, high_) - torch.minimum(low, low_)).clamp(min=0).prod(-1)
    iou = shared / union
    return iou, iou - (around - union) / around
