"""What the small detectors have in common: unpacking results, packing targets, carrying classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from cascade.checkpoints import checkpoint
from cascade.errors import BadPredictionsError, CheckpointError
from cascade.predictions import Detections

MIN_SCORE = 0.01
MAX_BOXES = 100  # an image
NMS_IOU = 0.6  # as the manifest's fusion


def to_detections(
    boxes_xyxy: Tensor,
    scores: Tensor,
    class_ids: Tensor,
    classes: tuple[str, ...],
    *,
    nms_iou: float | None,
) -> Detections:
    """Return the best boxes of one image, surest first.

    Args:
        boxes_xyxy: Relative corners, shape (N, 4); values outside the image are clipped.
        scores: Shape (N,), in [0, 1]. Boxes below 0.01 are left out.
        class_ids: Index into `classes`, shape (N,).
        classes: The names.
        nms_iou: Boxes of a class that overlap more are one; None where the model takes care.
    """
    # A few hundred boxes are sorted and suppressed in less time than a GPU takes to be asked.
    boxes_xyxy, scores, class_ids = boxes_xyxy.cpu(), scores.cpu(), class_ids.cpu()
    boxes, scores = boxes_xyxy.float().clamp(0, 1), scores.float().clamp(0, 1)
    order = scores.sort(descending=True, stable=True).indices
    order = order[scores[order] >= MIN_SCORE]
    if nms_iou is not None:
        order = order[batched_nms(boxes[order], scores[order], class_ids[order], nms_iou)]
    order = order[:MAX_BOXES]
    corners = boxes[order].numpy()
    corners[:, 2:] = np.maximum(corners[:, :2], corners[:, 2:])
    return Detections(
        boxes_xyxy=corners,
        scores=scores[order].numpy(),
        class_ids=class_ids[order].long().numpy(),
        classes=classes,
    )


def flatten(
    targets: Sequence[Detections], classes: tuple[str, ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all M boxes of a batch: image index (M,), class index (M,), boxes (M, 4) xyxy.

    Raises:
        BadPredictionsError: A target names other classes than `classes`.
    """
    for one in targets:
        if one.classes != classes:
            raise BadPredictionsError(
                f"targets must use the model's classes {list(classes)}, got {list(one.classes)}."
            )
    image = np.repeat(np.arange(len(targets)), [len(one) for one in targets])
    boxes = np.concatenate([one.boxes_xyxy for one in targets]).astype(np.float32)
    class_ids = np.concatenate([one.class_ids for one in targets])
    return (
        torch.from_numpy(image).to(device),
        torch.from_numpy(class_ids).to(device),
        torch.from_numpy(boxes).to(device),
    )


def to_centres(boxes_xyxy: Tensor) -> Tensor:
    """Return centre and sides `cx, cy, w, h` of boxes, shape (M, 4)."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return torch.cat([(low + high) / 2, high - low], dim=1)


def carry_over(
    old: nn.Module,
    new: nn.Module,
    *,
    class_rows: Collection[str],
    old_classes: Sequence[str],
    new_classes: Sequence[str],
    meaning: Callable[[str], str | None] | None,
) -> None:
    """Copy what `old` learned into `new`, which names other classes.

    Tensors in `class_rows` have one row per class: rows of classes that mean the same (case
    aside; the first of several) are copied, the others stay as `new` was initialised. Rows
    beyond the classes (a padding row) are copied from the end. All other tensors are copied
    whole, but for those whose shape depends on the number of classes, which start anew.
    """
    source = checkpoint.state(old)
    position: dict[str, int] = {}
    for i, name in enumerate(old_classes):
        position.setdefault(((meaning(name) if meaning else None) or name).casefold(), i)
    pairs = [
        (i, position[name.casefold()])
        for i, name in enumerate(new_classes)
        if name.casefold() in position
    ]
    with torch.no_grad():
        for name, tensor in checkpoint.state(new).items():
            if name not in class_rows:
                if tensor.shape == source[name].shape:
                    tensor.copy_(source[name])
                continue
            if tensor.shape[1:] != source[name].shape[1:]:
                continue
            for mine, theirs in pairs:
                tensor[mine] = source[name][theirs]
            tensor[len(new_classes) :] = source[name][len(old_classes) :]


def open_checkpoint(
    folder: Path, *, adapter: str, keys: Collection[str]
) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Return config and tensors of a checkpoint that this adapter wrote.

    Raises:
        CheckpointError: It is absent, another adapter's, or lacks one of `keys`.
    """
    config, tensors = checkpoint.load(folder)
    if config.get("adapter") != adapter:
        raise CheckpointError(
            f"{folder} is a checkpoint of the adapter {config.get('adapter')!r}, "
            f"expected {adapter!r}."
        )
    for key in keys:
        if key not in config:
            raise CheckpointError(f"{folder}: config.json has no {key!r}.")
    return config, tensors


def named_classes(classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes that a model without a checkpoint is to name.

    Raises:
        CheckpointError: There are none.
    """
    if not classes:
        raise CheckpointError(
            "A detector needs a checkpoint, or the parameter `classes` to start from nothing."
        )
    return tuple(classes)
