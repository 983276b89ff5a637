"""Where a sample goes next, once the tiers so far have spoken: the total decision table.

    p = p*(x) so far                agreement enough        too little
    p <= 0.05 or p >= 0.95          stop                    precision path
    0.85 <= p < 0.95                fast path A, then stop  precision path
    0.70 <= p < 0.85                fast path B, then stop  precision path
    0.05 <  p < 0.70                precision path          precision path

The numbers are the defaults of `manifest.Routing`. A sample on which nobody voted (NaN) takes
the precision path.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.manifest import Routing


class Path(StrEnum):
    """What is done with a sample next."""

    STOP = "stop"
    FAST_A = "fast_a"
    FAST_B = "fast_b"
    PRECISION = "precision"


def route(p: FloatArray, agreement: FloatArray, routing: Routing) -> NDArray[np.str_]:
    """Return the path of each sample, shape (n,), equal to members of `Path`.

    Args:
        p: Fused probability of yes, shape (n,), NaN where nobody voted.
        agreement: Weighted share of voters on the fused side, shape (n,).
        routing: Thresholds.
    """
    p = np.asarray(p, np.float64)
    sure = _agreed(agreement, routing)
    cases = [
        sure & ((p <= routing.stop_below) | (p >= routing.stop_above)),
        sure & (p >= routing.fast_a_from),
        sure & (p >= routing.fast_b_from),
    ]
    return np.select(cases, [Path.STOP, Path.FAST_A, Path.FAST_B], default=Path.PRECISION)


def needs_adjudication(p: FloatArray, agreement: FloatArray, routing: Routing) -> NDArray[np.bool_]:
    """Return which samples remain in doubt after the precision path, shape (n,).

    Those with too little agreement, with p inside the open interval `routing.adjudicate`, or
    on which still nobody voted.
    """
    p = np.asarray(p, np.float64)
    low, high = routing.adjudicate
    return ~_agreed(agreement, routing) | ~((p <= low) | (p >= high))


def _agreed(agreement: FloatArray, routing: Routing) -> NDArray[np.bool_]:
    enough: NDArray[Any] = np.asarray(agreement, np.float64) >= routing.agreement
    return enough
