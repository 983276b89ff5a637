"""Convolutional detector that finds the centers of objects.

The frozen trunk's maps are merged at stride 8. One heat map per class marks centers [0]; every
cell predicts the distance to each side of its box [1]. Around a center, cells are weighted by a
Gaussian in the shape of the box [2], which makes a few hundred training images sufficient.

- [0] Zhou et al., Objects as Points, 2019
- [1] Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, ICCV 2019
- [2] Liu et al., Training-Time-Friendly Network for Real-Time Object Detection, AAAI 2020
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import (
    MAX_BOXES,
    NMS_IOU,
    flatten_targets,
    to_detections,
)
from cascade.models.detection.small_detector import Blueprint, SmallDetector
from cascade.models.embedding import mobilenet
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "center_point"
STRIDE = 8
_PRIOR = 0.01  # an untrained cell's probability of being a center
_BOX_WEIGHT = 2.0  # weight of the box loss relative to the heat map's
_SHARE = 0.54  # share of the box's side within three standard deviations of its Gaussian [2]
_MIN_WEIGHT = 0.1  # Gaussian weight below which a cell does not learn the box


class CenterPoint(SmallDetector):
    """Detector on the frozen trunk; see `SmallDetector` for the other parameters.

    Args:
        checkpoint: Folder written by `save`.
        width: Number of channels of the maps.
        trunk_weights: File with the trunk's weights, for a machine without the package.
        params: Parameters of `SmallDetector`.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        width: int = 96,
        trunk_weights: Path | None = None,
        **params: Any,
    ) -> None:
        is_class_tensor = ("heat.weight", "heat.bias").__contains__
        self.blueprint = Blueprint(ADAPTER, width, _build, is_class_tensor, key="width")
        self._trunk_weights = trunk_weights
        super().__init__(checkpoint, **params)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the trunk's maps, shared between members."""
        return {"features": mobilenet.trunk_features(batch, self.size, self._trunk_weights)}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return `heat` (B, C, h, w), logits, and `reach` (B, 4, h, w), in cells, above 0."""
        return self.module(tensors["features"])

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Detections]:
        """Return the boxes around the local maxima of each image's heat maps."""
        heat = raw["heat"].float().sigmoid()
        peaks = heat * (heat == functional.max_pool2d(heat, 3, stride=1, padding=1))
        scores, indices = peaks.flatten(1).topk(min(MAX_BOXES, peaks[0].numel()))
        class_ids, cells = indices // heat[0, 0].numel(), indices % heat[0, 0].numel()
        boxes = _boxes(raw["reach"].float()).gather(1, cells[..., None].expand(-1, -1, 4))
        return [
            to_detections(*row, self.classes, nms_iou=NMS_IOU)
            for row in zip(boxes.cpu(), scores.cpu(), class_ids.cpu(), strict=True)
        ]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the focal loss of the heat maps plus the box loss around the centers."""
        raw = self.forward(tensors)
        heat, reach = raw["heat"].float(), raw["reach"].float()
        image, class_ids, boxes = flatten_targets(targets, self.classes, heat.device)
        kernels = _gaussians(boxes, heat.shape[-2], heat.shape[-1])
        return _heat_loss(heat, kernels, image, class_ids) + _BOX_WEIGHT * _box_loss(
            _boxes(reach), kernels, image, boxes
        )


class _Head(nn.Module):
    """Heat maps and reaches from the merged maps of strides 8, 16 and 32."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(depth, width, 1) for depth in mobilenet.CHANNELS)
        self.merge16 = _block(width)
        self.merge8 = _block(width)
        self.shared = _block(width)
        self.heat = _output(width, classes, start=-math.log((1 - _PRIOR) / _PRIOR))
        self.reach = _output(width, 4, start=math.log(2.0))

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        at8, at16, at32 = (layer(x) for layer, x in zip(self.lateral, features, strict=True))
        at16 = self.merge16(at16 + functional.interpolate(at32, size=at16.shape[-2:]))
        at8 = self.merge8(at8 + functional.interpolate(at16, size=at8.shape[-2:]))
        shared = self.shared(at8)
        reach = self.reach(shared).clamp(-4, 5).exp()  # 0.02 to 148 cells: any box, no overflow
        return {"heat": self.heat(shared), "reach": reach}


def _block(width: int) -> nn.Sequential:
    # Group instead of batch normalization: the head is fine-tuned on a few small batches.
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.GroupNorm(8, width),
        nn.ReLU(inplace=True),
    )


def _output(width: int, channels: int, *, start: float) -> nn.Conv2d:
    """Return a layer with outputs of about `start` before training."""
    layer = nn.Conv2d(width, channels, 1)
    nn.init.normal_(layer.weight, std=0.01)
    layer.bias = nn.Parameter(torch.full((channels,), start))
    return layer


def _build(classes: int, width: int, seed: int) -> _Head:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        head = _Head(classes, width)
    return head.to(memory_format=torch.channels_last).eval()


def _boxes(reach: Tensor) -> Tensor:
    """Return the box of every cell, relative corners (B, h·w, 4), from reaches (B, 4, h, w)."""
    height, width = reach.shape[-2:]
    y = (torch.arange(height, device=reach.device) + 0.5)[:, None].expand(height, width)
    x = (torch.arange(width, device=reach.device) + 0.5)[None].expand(height, width)
    left, top, right, bottom = reach.unbind(1)
    corners = torch.stack(
        [(x - left) / width, (y - top) / height, (x + right) / width, (y + bottom) / height], -1
    )
    return corners.flatten(1, 2)


def _gaussians(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return each box's Gaussian, shape (M, height·width); 1 in its central cell."""
    scale = boxes.new_tensor([width, height])
    center = ((boxes[:, :2] + boxes[:, 2:]) / 2 * scale).floor()
    center = center.clamp(min=0).minimum(scale - 1)
    sigma = ((boxes[:, 2:] - boxes[:, :2]) * scale * _SHARE / 6).clamp(min=1 / 3)
    x = torch.arange(width, device=boxes.device) - center[:, :1]
    y = torch.arange(height, device=boxes.device) - center[:, 1:]
    across = torch.exp(-((x / sigma[:, :1]) ** 2) / 2)
    down = torch.exp(-((y / sigma[:, 1:]) ** 2) / 2)
    return (down[:, :, None] * across[:, None, :]).flatten(1)


def _heat_loss(heat: Tensor, kernels: Tensor, image: Tensor, class_ids: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss, equation 1 of [0], per object."""
    n_classes = heat.shape[1]
    goal = torch.zeros_like(heat).flatten(2).flatten(0, 1)
    row = (image * n_classes + class_ids)[:, None].expand_as(kernels)
    goal = goal.scatter_reduce(0, row, kernels, "amax").view(heat.shape[0], n_classes, -1)
    logits = heat.flatten(2)
    p = logits.sigmoid()
    hit = (1 - p) ** 2 * functional.logsigmoid(logits) * (goal == 1)
    miss = (1 - goal) ** 4 * p**2 * functional.logsigmoid(-logits) * (goal < 1)
    return -(hit + miss).sum() / max(len(image), 1)


def _box_loss(predicted: Tensor, kernels: Tensor, image: Tensor, boxes: Tensor) -> Tensor:
    """Return 1 minus the GIoU around the centers, with equal weight for every object."""
    strongest = torch.zeros(predicted.shape[:2], device=predicted.device)
    strongest.scatter_reduce_(0, image[:, None].expand_as(kernels), kernels, "amax")
    owned = (kernels > _MIN_WEIGHT) & (kernels >= strongest[image])
    target, cell = owned.nonzero(as_tuple=True)
    weight = kernels[target, cell]
    per_target = torch.zeros(len(boxes), device=predicted.device).index_add_(0, target, weight)
    losses = generalized_box_iou_loss(predicted[image[target], cell], boxes[target])
    return (losses * weight / per_target[target]).sum() / max(len(boxes), 1)
