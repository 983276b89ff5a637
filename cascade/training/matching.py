"""Matching of predictions to ground truth, for the selection of training data."""

from __future__ import annotations

import numpy as np

from cascade.arrays import IntArray
from cascade.geometry import boxes
from cascade.predictions import Detections

IOU = 0.5


def match_objects(prediction: Detections, truth: Detections) -> tuple[Detections, IntArray]:
    """Match boxes to objects of the same class at IoU 0.5.

    Returns:
        The boxes by descending score, and the index of each box's object, -1 for none.
    """
    prediction = prediction[np.argsort(-prediction.scores, kind="stable")]
    is_same = np.equal.outer(np.array(prediction.labels, str), np.array(truth.labels, str))
    overlaps = boxes.iou(prediction.boxes_xyxy, truth.boxes_xyxy)
    return prediction, boxes.match(np.where(is_same, overlaps, 0.0), least=IOU)
