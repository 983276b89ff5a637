"""Paired comparison of two ensembles on the same images, grouped by drive.

n is the number of images. `a` is the champion and `b` the challenger; the change is b minus a.
A bootstrap over drives gives the uncertainty of the change. With few drives its bounds are too
narrow: with ten drives, one in ten equal pairs appears better. The swap test therefore also
reports how often chance alone does as well; it is exact for any number of drives.

- [0] Holm, A simple sequentially rejective multiple test procedure, 1979
- [1] Fisher, The Design of Experiments, 1935, section 21: the two answers of a pair are swapped
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import BoolArray
from cascade.metrics import classification

CONFIDENCE = 0.95
_ROUNDING = 1e-12  # tolerance for sums in different order
MIN_DIFFERING = 5  # drives; on 4, chance alone wins on all of them once in 16


@dataclass(frozen=True)
class PairedComparison:
    """Change of MCC on the same images.

    Attributes:
        a, b: MCC of champion and challenger.
        delta: b - a.
        lower, upper: One-sided 95 % bounds of the change.
        p_worse: Probability of such a low change if b is not worse; 1 if they differ on fewer
            than `MIN_DIFFERING` drives.
        p_chance: Probability of such a high change if the two are equal [1].
        deviation: Standard deviation of the change over the draws.
        n: Number of images.
        groups: Number of drives.
        differing: Number of drives on which the decisions differ at least once.
    """

    a: float
    b: float
    delta: float
    lower: float
    upper: float
    p_worse: float
    p_chance: float
    deviation: float
    n: int
    groups: int
    differing: int


def compare(
    truth: BoolArray, a: BoolArray, b: BoolArray, drives: Sequence[str], *, draws: int, seed: int
) -> PairedComparison:
    """Return the change of MCC from a to b; the truth must have both classes."""
    delta, spread = classification.paired_delta_mcc(truth, a, b, drives, draws=draws, seed=seed)
    spread = spread[np.isfinite(spread)]  # a draw may have one class only
    differing = len({drive for drive, x, y in zip(drives, a, b, strict=True) if x != y})
    p_worse = (1 + int((spread >= 0).sum())) / (1 + len(spread))
    return PairedComparison(
        a=classification.mcc(truth, a) or 0.0,
        b=classification.mcc(truth, b) or 0.0,
        delta=delta,
        lower=float(np.quantile(spread, 1 - CONFIDENCE)),
        upper=float(np.quantile(spread, CONFIDENCE)),
        p_worse=p_worse if differing >= MIN_DIFFERING else 1.0,
        p_chance=swap_test(truth, a, b, drives, draws=draws, seed=seed),
        deviation=float(spread.std()),
        n=len(truth),
        groups=len(set(drives)),
        differing=differing,
    )


def swap_test(
    truth: BoolArray, a: BoolArray, b: BoolArray, drives: Sequence[str], *, draws: int, seed: int
) -> float:
    """Return the probability of at least the change of MCC from a to b, by chance alone [1].

    If a and b are equal, their answers on a drive can be swapped. The test swaps the answers on
    a random half of the drives, `draws` times, and counts the original order as one draw. For
    equal pairs, the probability of a result of x or less is at most x.
    """
    before, after = _counts(truth, a, drives), _counts(truth, b, drives)
    generator = np.random.default_rng(seed)
    swapped = generator.integers(0, 2, (draws, len(before))) @ (after - before)
    observed = _mcc(after.sum(axis=0)) - _mcc(before.sum(axis=0))
    changes = _mcc(after.sum(axis=0) - swapped) - _mcc(before.sum(axis=0) + swapped)
    return (1 + int((changes >= observed - _ROUNDING).sum())) / (1 + draws)


def holm(p: Sequence[float], *, level: float = 1 - CONFIDENCE) -> list[tuple[bool, float]]:
    """Return for each test whether it rejects, and the limit of its p-value [0].

    The lowest p is compared with level / m, the next with level / (m - 1), and so on. The first
    that exceeds its limit does not reject, nor do all larger ones.
    """
    results = [(False, 0.0)] * len(p)
    rejects = True
    for rank, i in enumerate(np.argsort(p, kind="stable").tolist()):
        limit = level / (len(p) - rank)
        rejects = rejects and p[i] <= limit
        results[i] = (rejects, limit)
    return results


def _counts(truth: BoolArray, says_yes: BoolArray, drives: Sequence[str]) -> NDArray[np.int64]:
    """Return tp, fp, fn, tn of each of the G drives, shape (G, 4)."""
    _, drive = np.unique(np.asarray(drives), return_inverse=True)
    cell = np.where(says_yes, np.where(truth, 0, 1), np.where(truth, 2, 3))
    counts = np.zeros((int(drive.max(initial=-1)) + 1, 4), np.int64)
    np.add.at(counts, (drive, cell), 1)
    return counts


def _mcc(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the MCC of counts of shape (..., 4); 0 if an answer never occurs."""
    tp, fp, fn, tn = np.moveaxis(counts.astype(np.float64), -1, 0)
    scale = np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tp + fp) * np.sqrt(tn + fn)
    return np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)
