"""Association of predicted boxes with the boxes of the next frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from cascade.arrays import FloatArray, IntArray
from cascade.errors import BadPredictionsError
from cascade.geometry.boxes import iou
from cascade.imaging.batches import Batch
from cascade.predictions import Detections


def assign_boxes(predicted_xyxy: FloatArray, boxes_xyxy: FloatArray, min_iou: float) -> IntArray:
    """Return the index of the predicted box that each box continues, -1 for none; shape (K,).

    Each predicted box is used at most once. The pairs maximize the sum of overlaps.

    Args:
        predicted_xyxy: Predicted boxes of tracked objects, shape (M, 4).
        boxes_xyxy: Detected boxes, shape (K, 4), in the same unit.
        min_iou: Minimum overlap of a pair.
    """
    assignment = np.full(len(boxes_xyxy), -1, np.int64)
    if not len(predicted_xyxy) or not len(boxes_xyxy):
        return assignment
    overlaps = iou(predicted_xyxy, boxes_xyxy)
    for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
        if overlaps[row, column] >= min_iou:
            assignment[column] = row
    return assignment


def match_identities(
    objects: Sequence[int], predicted_xyxy: FloatArray, boxes_xyxy: FloatArray, min_iou: float
) -> IntArray:
    """Return the identity of each box, -1 for a box that continues no object.

    Args:
        objects: Identities of the tracked objects.
        predicted_xyxy: Predicted boxes of these objects, shape (M, 4).
        boxes_xyxy: Detected boxes, shape (K, 4), in the same unit.
        min_iou: Minimum overlap of a pair.
    """
    assignment = assign_boxes(predicted_xyxy, boxes_xyxy, min_iou)
    return np.array([objects[row] if row >= 0 else -1 for row in assignment], np.int64)


def check_clip(frames: Sequence[Detections], batch: Batch) -> None:
    """Check that a clip has as many frames of detections as images.

    Raises:
        BadPredictionsError: The numbers differ.
    """
    if len(frames) != len(batch):
        raise BadPredictionsError(
            f"frames must have one entry per image, got {len(frames)} for {len(batch)} images."
        )
