"""How two ensembles compare on the same images, drive by drive.

n is the number of images. `a` is the champion and `b` the challenger; change is b minus a.
A bootstrap over drives says how sure the change is. With few drives its bounds are too narrow:
of equal pairs on ten drives it calls one in ten better. So the swap test says beside it how
often chance alone does as well; it is exact however few drives there are.

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
_ROUNDING = 1e-12  # two sums of the same numbers in another order
LEAST_DIFFERING = 5  # drives: of 4, even a clean sweep is chance once in 16


@dataclass(frozen=True)
class Paired:
    """The change of MCC on the same images.

    Attributes:
        a, b: MCC of each.
        delta: b - a.
        lower, upper: One-sided 95 % bounds of the change.
        p_worse: How probable a change at least so bad is when b is not worse; 1 where they
            differ on fewer than `LEAST_DIFFERING` drives, which no test could tell from chance.
        p_chance: How probable a change at least so good is when the two are equal [1].
        deviation: Standard deviation of the change over the draws.
        n: Images.
        groups: Drives.
        differing: Drives on which the two decide differently at least once.
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
) -> Paired:
    """Return the change of MCC from a to b; the truth must have both classes."""
    delta, spread = classification.paired_delta_mcc(truth, a, b, drives, draws=draws, seed=seed)
    spread = spread[np.isfinite(spread)]  # a draw of drives may hold one class only
    differing = len({drive for drive, x, y in zip(drives, a, b, strict=True) if x != y})
    p_worse = (1 + int((spread >= 0).sum())) / (1 + len(spread))
    return Paired(
        a=classification.mcc(truth, a) or 0.0,
        b=classification.mcc(truth, b) or 0.0,
        delta=delta,
        lower=float(np.quantile(spread, 1 - CONFIDENCE)),
        upper=float(np.quantile(spread, CONFIDENCE)),
        p_worse=p_worse if differing >= LEAST_DIFFERING else 1.0,
        p_chance=swap_test(truth, a, b, drives, draws=draws, seed=seed),
        deviation=float(spread.std()),
        n=len(truth),
        groups=len(set(drives)),
        differing=differing,
    )


def swap_test(
    truth: BoolArray, a: BoolArray, b: BoolArray, drives: Sequence[str], *, draws: int, seed: int
) -> float:
    """Return how often chance alone gives at least the change of MCC from a to b [1].

    If the two are equal, it makes no difference which of them a drive's answers are said to be
    of. So they are swapped on a random half of the drives, `draws` times, the given order
    counting as one of them: of equal pairs at most a share of x gets a value of x or less.
    """
    before, after = _counts(truth, a, drives), _counts(truth, b, drives)
    generator = np.random.default_rng(seed)
    swapped = generator.integers(0, 2, (draws, len(before))) @ (after - before)
    observed = _mcc(after.sum(axis=0)) - _mcc(before.sum(axis=0))
    changes = _mcc(after.sum(axis=0) - swapped) - _mcc(before.sum(axis=0) + swapped)
    return (1 + int((changes >= observed - _ROUNDING).sum())) / (1 + draws)


def holm(p: Sequence[float], *, level: float = 1 - CONFIDENCE) -> list[tuple[bool, float]]:
    """Return for each test whether it rejects, and the limit of its p [0].

    The least p is compared with level / m, the next with level / (m - 1), and so on until one
    is too large: that one and all above it do not reject.
    """
    found = [(False, 0.0)] * len(p)
    going = True
    for rank, i in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        limit = level / (len(p) - rank)
        going = going and p[i] <= limit
        found[i] = (going, limit)
    return found


def _counts(truth: BoolArray, says_yes: BoolArray, drives: Sequence[str]) -> NDArray[np.int64]:
    """Return tp, fp, fn, tn of each of the G drives, shape (G, 4)."""
    _, drive = np.unique(np.asarray(drives), return_inverse=True)
    cell = np.where(says_yes, np.where(truth, 0, 1), np.where(truth, 2, 3))
    counts = np.zeros((int(drive.max(initial=-1)) + 1, 4), np.int64)
    np.add.at(counts, (drive, cell), 1)
    return counts


def _mcc(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the MCC of counts of shape (..., 4); 0 where one answer was never given."""
    tp, fp, fn, tn = np.moveaxis(counts.astype(np.float64), -1, 0)
    scale = np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tp + fp) * np.sqrt(tn + fn)
    return np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0)
