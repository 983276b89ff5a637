"""Class-wise suppression for detectors with one prediction per grid cell."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from cascade.imaging.letterbox import Inset
from cascade.models.detection.detector_head import MIN_SCORE, NMS_IOU, to_detections
from cascade.predictions import Detections

CANDIDATES = 3000  # boxes per image before suppression: bounds its memory


def class_wise_nms(
    boxes_xyxy: Tensor, scores: Tensor, insets: Iterable[Inset], classes: tuple[str, ...]
) -> list[Detections]:
    """Return the boxes of each image after suppression, highest score first.

    Each cell counts for its likeliest class only. As in the families' own code, overlap is
    measured before boxes are clipped to the image. Boxes entirely in the letterbox's border are
    dropped.

    Args:
        boxes_xyxy: Corners of all K cells, in pixels of the letterbox, shape (B, K, 4).
        scores: Scores of each cell and class in [0, 1], shape (B, K, C).
        insets: Place of each image in its letterbox.
        classes: The C class names.
    """
    best, class_ids = scores.max(dim=2)
    return [
        _nms_of_image(*row, classes)
        for row in zip(boxes_xyxy, best, class_ids, insets, strict=True)
    ]


def _nms_of_image(
    boxes: Tensor, scores: Tensor, class_ids: Tensor, inset: Inset, classes: tuple[str, ...]
) -> Detections:
    scores, order = scores.topk(min(CANDIDATES, len(scores)))
    order = order[scores >= MIN_SCORE]
    scores = scores[: len(order)]
    survivors = batched_nms(boxes[order], scores, class_ids[order], NMS_IOU)
    corners = inset.to_relative(boxes[order[survivors]])
    low, high = torch.split(corners.clamp(0, 1), 2, dim=1)
    inside = (high > low).all(dim=1)  # not entirely in the border
    return to_detections(
        corners[inside],
        scores[survivors][inside],
        class_ids[order[survivors]][inside],
        classes,
        nms_iou=None,
    )
