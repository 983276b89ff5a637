"""How two ensembles compare on the same images, by a bootstrap over drives.

n is the number of images. `a` is the champion and `b` the challenger; change is b minus a.

- [0] Holm, A simple sequentially rejective multiple test procedure, 1979
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade import metrics

Bools = NDArray[np.bool_]

CONFIDENCE = 0.95
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
    deviation: float
    n: int
    groups: int
    differing: int


def compare(
    truth: Bools, a: Bools, b: Bools, drives: Sequence[str], *, draws: int, seed: int
) -> Paired:
    """Return the change of MCC from a to b; the truth must have both classes."""
    delta, spread = metrics.paired_delta_mcc(truth, a, b, drives, draws=draws, seed=seed)
    spread = spread[np.isfinite(spread)]  # a draw of drives may hold one class only
    differing = len({drive for drive, x, y in zip(drives, a, b, strict=True) if x != y})
    p_worse = (1 + int((spread >= 0).sum())) / (1 + len(spread))
    return Paired(
        a=metrics.mcc(truth, a) or 0.0,
        b=metrics.mcc(truth, b) or 0.0,
        delta=delta,
        lower=float(np.quantile(spread, 1 - CONFIDENCE)),
        upper=float(np.quantile(spread, CONFIDENCE)),
        p_worse=p_worse if differing >= LEAST_DIFFERING else 1.0,
        deviation=float(spread.std()),
        n=len(truth),
        groups=len(set(drives)),
        differing=differing,
    )


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
