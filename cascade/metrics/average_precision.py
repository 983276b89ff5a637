"""Average precision of boxes, as defined by COCO. The only file that imports faster-coco-eval.

Precision is interpolated at 101 recalls and averaged. A class without ground truth has no
average precision and is excluded from means, even if it was predicted. At most 100 boxes
of a class per image count.

- [0] Lin et al., Microsoft COCO, 2014; https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from cascade.arrays import FloatArray
from cascade.errors import BadPredictionsError
from cascade.predictions import Detections

MAX_BOXES = 100  # of one class in one image, as in COCO


@dataclass(frozen=True)
class AveragePrecision:
    """Average precisions in [0, 1]; higher is better.

    Attributes:
        map: Mean over classes and the IoU thresholds 0.50, 0.55, … 0.95; None if there is no
            ground truth.
        map50: Mean over classes at IoU 0.50; None if there is no ground truth.
        ap50: Average precision by class at IoU 0.50; None for a class that has no ground truth.
        n: Number of ground-truth boxes by class.
    """

    map: float | None
    map50: float | None
    ap50: Mapping[str, float | None]
    n: Mapping[str, int]


def average_precision(
    predictions: Sequence[Detections], truths: Sequence[Detections], classes: Sequence[str]
) -> AveragePrecision:
    """Compare predictions with ground truth, image by image.

    Args:
        predictions: Predictions of each image.
        truths: Ground truth of the same images, in the same order.
        classes: Names of the classes to evaluate; boxes of other classes are ignored.

    Raises:
        BadPredictionsError: The sequences have different lengths.
    """
    if len(predictions) != len(truths):
        raise BadPredictionsError(
            "predictions and truths must have the same length, "
            f"got {len(predictions)} and {len(truths)}."
        )
    annotations = list(_annotations(truths, classes))
    results = list(_annotations(predictions, classes))
    counts = np.bincount([box["category_id"] for box in annotations], minlength=len(classes))
    n = {name: int(count) for name, count in zip(classes, counts, strict=True)}
    if not annotations:
        return AveragePrecision(map=None, map50=None, ap50=dict.fromkeys(classes), n=n)
    precision = _precision(annotations, results, n_images=len(truths), n_classes=len(classes))
    per_class = precision.mean(axis=1)  # (T, C); -1 for a class without ground truth
    present = counts > 0
    return AveragePrecision(
        map=float(per_class[:, present].mean()),
        map50=float(per_class[0, present].mean()),
        ap50={name: float(per_class[0, c]) if n[name] else None for c, name in enumerate(classes)},
        n=n,
    )


def _annotations(images: Sequence[Detections], classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield one COCO annotation per box; ids start at 1, because COCO uses 0 for unmatched."""
    column = {name: c for c, name in enumerate(classes)}
    number = 0
    for image_id, boxes in enumerate(images):
        corners = boxes.boxes_xyxy.astype(np.float64)
        sides = np.maximum(corners[:, 2:] - corners[:, :2], 0.0)
        rows = np.hstack([corners[:, :2], sides]).tolist()
        for row, score, label in zip(rows, boxes.scores.tolist(), boxes.labels, strict=True):
            if label not in column:
                continue
            number += 1
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": column[label],
                "bbox": row,
                "area": row[2] * row[3],
                "iscrowd": 0,
                "score": score,
            }


def _precision(
    annotations: list[dict[str, Any]],
    results: list[dict[str, Any]],
    *,
    n_images: int,
    n_classes: int,
) -> FloatArray:
    """Return interpolated precision, shape (10 IoU thresholds, 101 recalls, n_classes)."""
    dataset = {
        "images": [{"id": i} for i in range(n_images)],
        "categories": [{"id": c, "name": str(c)} for c in range(n_classes)],
    }
    truth, predicted = (
        COCO({**dataset, "annotations": boxes}, print_function=_silent)
        for boxes in (annotations, results)
    )
    evaluator = COCOeval_faster(truth, predicted, iouType="bbox", print_function=_silent)
    evaluator.params.maxDets = [MAX_BOXES]
    evaluator.params.areaRng = [[0.0, 1e10]]
    evaluator.params.areaRngLbl = ["all"]
    evaluator.evaluate()
    evaluator.accumulate()
    precision: FloatArray = np.asarray(evaluator.eval["precision"])
    return precision[:, :, :, 0, 0]


def _silent(*_: object) -> None:
    """Discard output."""
