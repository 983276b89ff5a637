"""How sure an average precision is: the same figure over draws of drives.

Boxes are matched once: a match lies within an image, so a draw changes only how often the
image counts. Then average precision at IoU 0.5 is computed with weights, as COCO defines it.

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
    """The middle 95 % of average precision at IoU 0.5 over draws; None where not defined.

    Attributes:
        map50: Mean over the classes that have ground truth in the draw.
        ap50: By class.
    """

    map50: Interval | None
    ap50: dict[str, Interval | None]


def ap50_intervals(
    predictions: Sequence[Detections],
    truths: Sequence[Detections],
    classes: Sequence[str],
    groups: Sequence[Hashable],
    *,
    draws: int = 200,
    seed: int = 0,
) -> Ap50Intervals:
    """Return how far the average precisions move when other drives had been recorded.

    Args:
        predictions: One value an image, in the words of `classes`.
        truths: The ground truth of the same images, in the same order.
        classes: The names that count.
        groups: The drive or source photograph of each image: what a draw takes whole [0].
        draws: How many.
        seed: Of the draws.

    Raises:
        BadPredictionsError: The sequences are of different length.
    """
    drawn = _drawn(predictions, truths, classes, groups, draws=draws, seed=seed)
    return Ap50Intervals(
        map50=_interval(_mean(drawn)),
        ap50={name: _interval(row) for name, row in zip(classes, drawn, strict=True)},
    )


def map50_draws(
    predictions: Sequence[Detections],
    truths: Sequence[Detections],
    classes: Sequence[str],
    groups: Sequence[Hashable],
    *,
    draws: int = 200,
    seed: int = 0,
) -> FloatArray:
    """Return mAP at IoU 0.5 in each draw of groups, shape (draws,): see `ap50_intervals`.

    Equal seeds draw equal groups, so that two models can be compared draw by draw.
    """
    return _mean(_drawn(predictions, truths, classes, groups, draws=draws, seed=seed))


def _drawn(
    predictions: Sequence[Detections],
    truths: Sequence[Detections],
    classes: Sequence[str],
    groups: Sequence[Hashable],
    *,
    draws: int,
    seed: int,
) -> FloatArray:
    """Return the average precision of each class in each draw, shape (C, draws)."""
    if not len(predictions) == len(truths) == len(groups):
        raise BadPredictionsError(
            "predictions, truths and groups must be of the same images, "
            f"got {len(predictions)}, {len(truths)} and {len(groups)}."
        )
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([number[group] for group in groups], np.int64)
    weights = grouped_bootstrap(len(number), draws=draws, seed=seed)
    return np.stack(
        [_ap50(_match(predictions, truths, name), group_of, weights) for name in classes]
    )


def _mean(drawn: FloatArray) -> FloatArray:
    """Return the mean over classes that were drawn, shape (draws,); NaN where none was."""
    known = ~np.isnan(drawn)
    sums = np.where(known, drawn, 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


@dataclass(frozen=True, eq=False)
class _Matched:
    """The boxes of one class over all images, surest first.

    Attributes:
        image: Whose box it is, shape (N,).
        hit: Whether it has found an object, shape (N,).
        n_truth: Objects of the class in each image.
    """

    image: IntArray
    hit: NDArray[np.bool_]
    n_truth: IntArray


def _match(predictions: Sequence[Detections], truths: Sequence[Detections], label: str) -> _Matched:
    images, hits, scores = [], [], []
    n_truth = np.zeros(len(truths), np.int64)
    for i, (said, truth) in enumerate(zip(predictions, truths, strict=True)):
        found, objects = _of_class(said, label), _of_class(truth, label)
        found = found[np.argsort(-found.scores, kind="stable")[:MAX_BOXES]]
        overlaps = boxes.iou(found.boxes_xyxy, objects.boxes_xyxy)
        images.append(np.full(len(found), i, np.int64))
        hits.append(boxes.match(overlaps, least=_IOU) >= 0)
        scores.append(found.scores)
        n_truth[i] = len(objects)
    order = np.argsort(-np.concatenate([np.zeros(0), *scores]), kind="stable")
    return _Matched(
        image=np.concatenate([np.zeros(0, np.int64), *images])[order],
        hit=np.concatenate([np.zeros(0, bool), *hits])[order],
        n_truth=n_truth,
    )


def _of_class(found: Detections, label: str) -> Detections:
    if label not in found.classes:
        return found[:0]
    return found[found.class_ids == found.classes.index(label)]


def _ap50(matched: _Matched, group_of: IntArray, weights: IntArray) -> FloatArray:
    """Return the average precision in each draw, shape (draws,); NaN without ground truth."""
    values = np.full(len(weights), np.nan)
    for draw, row in enumerate(weights):
        times = row[group_of]
        total = float(times @ matched.n_truth)
        if total > 0:
            values[draw] = _average(matched, times, total)
    return values


def _average(matched: _Matched, times: IntArray, total: float) -> float:
    """Return COCO's 101-point average precision, each image counted `times` over."""
    counted = times[matched.image]
    true = np.cumsum(counted * matched.hit)
    said = np.cumsum(counted)
    precision = np.divide(true, said, out=np.zeros(len(said)), where=said > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(true / total, _RECALLS, side="left")
    reached = place < len(envelope)
    return float(envelope[place[reached]].sum() / len(_RECALLS))


def _interval(values: FloatArray) -> Interval | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    lower, upper = np.quantile(known, _ENDS)
    return float(lower), float(upper)
