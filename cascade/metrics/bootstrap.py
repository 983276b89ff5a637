"""Bootstrap intervals of average precision, over draws of groups of images.

Boxes are matched once: matches are within images, so a draw changes only the weights of the
images. Then the weighted average precision at IoU 0.5 is computed as defined by COCO.

- [0] Field and Welsh, Bootstrapping clustered data, 2007
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray, IntArray
from cascade.errors import BadPredictionsError
from cascade.geometry import boxes
from cascade.metrics.average_precision import MAX_BOXES
from cascade.metrics.classification import grouped_bootstrap
from cascade.predictions import Detections

Interval = tuple[float, float]

_IOU = 0.5
_RECALLS = np.linspace(0.0, 1.0, 101)
_ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class Ap50Intervals:
    """Central 95 % intervals of average precision at IoU 0.5 over draws; None if undefined.

    Attributes:
        map50: Interval of the mean over the classes with ground truth in the draw.
        ap50: Interval by class.
    """

    map50: Interval | None
    ap50: dict[str, Interval | None]


@dataclass(frozen=True, eq=False)
class Ap50Draws:
    """Average precision at IoU 0.5 in each draw.

    Attributes:
        classes: The C class names.
        ap50: By class and draw, shape (C, draws); NaN without ground truth in the draw.
    """

    classes: Sequence[str]
    ap50: FloatArray

    @property
    def map50(self) -> FloatArray:
        """The mean over the classes in each draw, shape (draws,); NaN without any class."""
        is_defined = ~np.isnan(self.ap50)
        sums = np.where(is_defined, self.ap50, 0.0).sum(axis=0)
        counts = is_defined.sum(axis=0)
        return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)

    def intervals(self) -> Ap50Intervals:
        """Return the central 95 % of the draws."""
        return Ap50Intervals(
            map50=_interval(self.map50),
            ap50={name: _interval(row) for name, row in zip(self.classes, self.ap50, strict=True)},
        )


def ap50_draws(
    predictions: Sequence[Detections],
    truths: Sequence[Detections],
    classes: Sequence[str],
    groups: Sequence[Hashable],
    *,
    draws: int = 200,
    seed: int = 0,
) -> Ap50Draws:
    """Return the average precisions in random draws of groups.

    Equal seeds draw equal groups, so two models can be compared draw by draw.

    Args:
        predictions: Predictions of each image, with class names from `classes`.
        truths: Ground truth of the same images, in the same order.
        classes: Names of the classes to evaluate.
        groups: Drive or source photograph of each image, the unit of resampling [0].
        draws: Number of draws.
        seed: Random seed of the draws.

    Raises:
        BadPredictionsError: The sequences have different lengths.
    """
    if not len(predictions) == len(truths) == len(groups):
        raise BadPredictionsError(
            "predictions, truths and groups must have the same length, "
            f"got {len(predictions)}, {len(truths)} and {len(groups)}."
        )
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([number[group] for group in groups], np.int64)
    weights = grouped_bootstrap(len(number), draws=draws, seed=seed)
    rows = [_ap50(_match(predictions, truths, name), group_of, weights) for name in classes]
    return Ap50Draws(classes, np.stack(rows))


@dataclass(frozen=True, eq=False)
class _Matches:
    """The boxes of one class over all images, in descending order of score.

    Attributes:
        image: Image of each box, shape (N,).
        hit: Whether each box matches an object, shape (N,).
        n_truth: Number of objects of the class in each image.
    """

    image: IntArray
    hit: NDArray[np.bool_]
    n_truth: IntArray


def _match(predictions: Sequence[Detections], truths: Sequence[Detections], label: str) -> _Matches:
    images, hits, scores = [], [], []
    n_truth = np.zeros(len(truths), np.int64)
    for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        predicted, objects = _of_class(prediction, label), _of_class(truth, label)
        predicted = predicted[np.argsort(-predicted.scores, kind="stable")[:MAX_BOXES]]
        overlaps = boxes.iou(predicted.boxes_xyxy, objects.boxes_xyxy)
        images.append(np.full(len(predicted), i, np.int64))
        hits.append(boxes.match(overlaps, least=_IOU) >= 0)
        scores.append(predicted.scores)
        n_truth[i] = len(objects)
    order = np.argsort(-np.concatenate([np.zeros(0), *scores]), kind="stable")
    return _Matches(
        image=np.concatenate([np.zeros(0, np.int64), *images])[order],
        hit=np.concatenate([np.zeros(0, bool), *hits])[order],
        n_truth=n_truth,
    )


def _of_class(detections: Detections, label: str) -> Detections:
    if label not in detections.classes:
        return detections[:0]
    return detections[detections.class_ids == detections.classes.index(label)]


def _ap50(matches: _Matches, group_of: IntArray, weights: IntArray) -> FloatArray:
    """Return the average precision in each draw, shape (draws,); NaN without ground truth."""
    values = np.full(len(weights), np.nan)
    for draw, row in enumerate(weights):
        image_weights = row[group_of]
        n_truth = float(image_weights @ matches.n_truth)
        if n_truth > 0:
            values[draw] = _average_precision(matches, image_weights, n_truth)
    return values


def _average_precision(matches: _Matches, image_weights: IntArray, n_truth: float) -> float:
    """Return COCO's 101-point average precision with weighted images."""
    box_weights = image_weights[matches.image]
    true = np.cumsum(box_weights * matches.hit)
    predicted = np.cumsum(box_weights)
    precision = np.divide(true, predicted, out=np.zeros(len(predicted)), where=predicted > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(true / n_truth, _RECALLS, side="left")
    reached = index < len(envelope)
    return float(envelope[index[reached]].sum() / len(_RECALLS))


def _interval(values: FloatArray) -> Interval | None:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    lower, upper = np.quantile(defined, _ENDS)
    return float(lower), float(upper)
