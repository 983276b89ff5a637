"""Image-level metrics before and after, with bootstrap intervals over drives.

n is the number of images. Both ensembles use the same draws, so common variation cancels in the
change. Intervals are the central 95 % of the draws.
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
_BINS = 15  # calibration error, as in `cascade.metrics.classification.ece`
_ENDS = (0.025, 0.975)


@dataclass(frozen=True, eq=False)
class Answers:
    """Decisions of one ensemble on the frozen set.

    Attributes:
        p: P(yes) of each image, shape (n,), in [0, 1]. NaN (no vote) counts as a no and is left
            out of the calibration error.
        threshold: Smallest p with the answer yes.
    """

    p: FloatArray
    threshold: float


@dataclass(frozen=True)
class Compared:
    """One metric before and after, and its change."""

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
        truth: True answers, shape (n,).
        drives: Drive of each image; images of one drive are drawn together.
        before: Decisions of the champion.
        after: Decisions of the challenger.
        draws: Number of bootstrap draws.
        seed: Random seed of the bootstrap.
    """
    groups = {name: i for i, name in enumerate(dict.fromkeys(drives))}
    group_of = np.array([groups[drive] for drive in drives], np.int64)
    weights = classification.grouped_bootstrap(len(groups), draws=draws, seed=seed)
    weights = np.vstack([np.ones((1, len(groups)), np.int64), weights])  # row 0: the full set
    old, new = (_draws_of(truth, side, group_of, weights) for side in (before, after))
    return {
        name: Compared(
            before=_estimate(old[name]),
            after=_estimate(new[name]),
            change=_estimate(new[name] - old[name]),
        )
        for name in old
    }


def _draws_of(
    truth: BoolArray, answers: Answers, group_of: IntArray, weights: IntArray
) -> Mapping[str, FloatArray]:
    """Return each metric in each draw, shape (draws,); NaN where undefined."""
    yes = answers.p >= answers.threshold
    cells = np.stack([truth & yes, ~truth & yes, truth & ~yes, ~truth & ~yes], axis=1)
    tp, fp, fn, tn = (weights @ _by_group(cells, group_of, weights.shape[1])).T
    voted = np.flatnonzero(~np.isnan(answers.p))
    bin_of = np.minimum((answers.p[voted] * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.zeros((len(truth), _BINS + 1))  # the last column counts votes
    gaps[voted, bin_of] = answers.p[voted] - truth[voted]
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


def _ratio(part: FloatArray, total: FloatArray) -> FloatArray:
    return np.divide(part, total, out=np.full_like(part, np.nan, dtype=float), where=total > 0)


def _estimate(values: FloatArray) -> Estimate:
    """Return the first value with the interval of the remaining ones."""
    if np.isnan(values[0]):
        return Estimate(None)
    draws = values[1:][~np.isnan(values[1:])]
    if not len(draws):
        return Estimate(float(values[0]))
    lower, upper = np.quantile(draws, _ENDS)
    return Estimate(float(values[0]), float(lower), float(upper))
