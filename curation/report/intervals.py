"""Figures of the image decision before and after, with intervals by resampling drives.

n is the number of images. Both ensembles are judged on the same draws, so that what they have
in common cancels out of the change. Intervals are the middle 95 % of the draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.metrics import classification
from curation.report.figures import Estimate

DRAWS = 1000
_BINS = 15  # of the calibration error, as in `cascade.metrics.classification.ece`
_ENDS = (0.025, 0.975)


@dataclass(frozen=True, eq=False)
class Answers:
    """What one ensemble said on the frozen set.

    Attributes:
        p: P(yes) of each image, shape (n,), in [0, 1]; NaN where nobody voted, which counts
            as a no and is left out of the calibration error.
        threshold: At or above it the answer is yes.
    """

    p: FloatArray
    threshold: float


@dataclass(frozen=True)
class Compared:
    """One metric before, after, and the change."""

    before: Estimate
    after: Estimate
    change: Estimate


def compare(
    truth: BoolArray,
    drives: Sequence[str],
    before: Answers,
    after: Answers,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Compared]:
    """Return `mcc`, `precision`, `recall` and `ece`, each with its intervals.

    Args:
        truth: The true answers, shape (n,).
        drives: What each image belongs to; images of one drive are drawn together.
        before: Of the champion.
        after: Of the challenger.
        draws: Of the bootstrap.
        seed: Of the bootstrap.
    """
    groups = {name: i for i, name in enumerate(dict.fromkeys(drives))}
    group_of = np.array([groups[one] for one in drives], np.int64)
    weights = classification.grouped_bootstrap(len(groups), draws=draws, seed=seed)
    weights = np.vstack([np.ones((1, len(groups)), np.int64), weights])  # row 0: the set itself
    both = [_draws_of(truth, one, group_of, weights) for one in (before, after)]
    return {
        name: Compared(
            before=_estimate(both[0][name]),
            after=_estimate(both[1][name]),
            change=_estimate(both[1][name] - both[0][name]),
        )
        for name in both[0]
    }


def _draws_of(
    truth: BoolArray, said: Answers, group_of: IntArray, weights: IntArray
) -> Mapping[str, FloatArray]:
    """Return each metric in each draw, shape (draws,); NaN where it is not defined."""
    yes = said.p >= said.threshold
    cells = np.stack([truth & yes, ~truth & yes, truth & ~yes, ~truth & ~yes], axis=1)
    tp, fp, fn, tn = (weights @ _by_group(cells, group_of, weights.shape[1])).T
    voted = np.flatnonzero(~np.isnan(said.p))
    bin_of = np.minimum((said.p[voted] * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.zeros((len(truth), _BINS + 1))  # the last column counts who voted
    gaps[voted, bin_of] = said.p[voted] - truth[voted]
    gaps[voted, _BINS] = 1.0
    summed = weights @ _by_group(gaps, group_of, weights.shape[1])
    gap, counted = np.abs(summed[:, :_BINS]).sum(axis=1), summed[:, _BINS]
    return {
        "mcc": _mcc(tp, fp, fn, tn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "ece": _ratio(gap, counted),
    }


def _by_group(rows: NDArray[Any], group_of: IntArray, n_groups: int) -> FloatArray:
    summed = np.zeros((n_groups, rows.shape[1]))
    np.add.at(summed, group_of, rows)
    return summed


def _mcc(tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
    """Return MCC; 0 where all answers are the same, NaN where the truth has one class."""
    true_scale = np.sqrt(tp + fn) * np.sqrt(tn + fp)
    scale = true_scale * np.sqrt(tp + fp) * np.sqrt(tn + fn)
    value = np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(true_scale > 0, value, np.nan)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full_like(part, np.nan, dtype=float), where=whole > 0)


def _estimate(values: FloatArray) -> Estimate:
    """Return the first value, and the interval of the others."""
    if np.isnan(values[0]):
        return Estimate(None)
    known = values[1:][~np.isnan(values[1:])]
    if not len(known):
        return Estimate(float(values[0]))
    lower, upper = np.quantile(known, _ENDS)
    return Estimate(float(values[0]), float(lower), float(upper))
