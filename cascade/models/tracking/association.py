"""What trackers have in common: carried boxes meet the boxes of the next frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from cascade.arrays import FloatArray, IntArray
from cascade.errors import BadPredictionsError
from cascade.geometry.boxes import iou
from cascade.imaging.batches import Batch
from cascade.predictions import Detections


def assigned(carried_xyxy: FloatArray, boxes_xyxy: FloatArray, min_iou: float) -> IntArray:
    """Return which carried box each box continues, -1 for none, each at most once; shape (K,).

    The pairs are those whose overlaps have the largest sum.

    Args:
        carried_xyxy: Where known objects are expected, shape (M, 4).
        boxes_xyxy: What was found, shape (K, 4), in the same unit.
        min_iou: Least overlap of a pair.
    """
    found = np.full(len(boxes_xyxy), -1, np.int64)
    if not len(carried_xyxy) or not len(boxes_xyxy):
        return found
    overlaps = iou(carried_xyxy, boxes_xyxy)
    for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
        if overlaps[row, column] >= min_iou:
            found[column] = row
    return found


def expect_as_many(frames: Sequence[Detections], batch: Batch) -> None:
    """Refuse a clip whose frames are not those of the images.

    Raises:
        BadPredictionsError: Their numbers differ.
    """
    if len(frames) != len(batch):
        raise BadPredictionsError(
            f"frames must be as many as the images, got {len(frames)} and {len(batch)}."
        )
