"""Class-wise suppression for detectors that answer once for each cell of a grid."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from cascade.imaging.letterbox import Inset
from cascade.models.detection.detector_head import MIN_SCORE, NMS_IOU, to_detections
from cascade.predictions import Detections

CANDIDATES = 3000  # boxes of an image that suppression looks at: bounds its memory


def suppressed(
    boxes_xyxy: Tensor, scores: Tensor, insets: Iterable[Inset], classes: tuple[str, ...]
) -> list[Detections]:
    """Return the boxes of each image, surest first; of boxes that overlap, the surest.

    Each cell speaks for its likeliest class only. Overlap is measured before boxes are
    clipped to the image, as the families' own code does. What lies wholly in the letterbox's
    border is no box of the image.

    Args:
        boxes_xyxy: Corners of all K cells, in pixels of the letterbox, shape (B, K, 4).
        scores: Of each cell and class, in [0, 1], shape (B, K, C).
        insets: Where each image lies in its letterbox.
        classes: The C names.
    """
    best, class_ids = scores.max(dim=2)
    return [
        _of_image(*one, classes) for one in zip(boxes_xyxy, best, class_ids, insets, strict=True)
    ]


def to_corners(boxes_cxcywh: Tensor) -> Tensor:
    """Return corners of boxes that are given by centre and sides, shape (..., 4)."""
    centres, sides = torch.split(boxes_cxcywh, 2, dim=-1)
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=-1)


def _of_image(
    boxes: Tensor, scores: Tensor, class_ids: Tensor, place: Inset, classes: tuple[str, ...]
) -> Detections:
    scores, order = scores.topk(min(CANDIDATES, len(scores)))
    order = order[scores >= MIN_SCORE]
    scores = scores[: len(order)]
    kept = batched_nms(boxes[order], scores, class_ids[order], NMS_IOU)
    corners = place.to_relative(boxes[order[kept]])
    inside = _reaches_in(corners)
    return to_detections(
        corners[inside],
        scores[kept][inside],
        class_ids[order[kept]][inside],
        classes,
        nms_iou=None,
    )


def _reaches_in(corners: Tensor) -> Tensor:
    """Tell which boxes, in relative corners, have a part inside the image; not in the border."""
    low, high = torch.split(corners.clamp(0, 1), 2, dim=1)
    return (high > low).all(dim=1)
