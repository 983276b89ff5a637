"""Routing of samples between tiers: the decision table.

    p = p*(x) so far                enough agreement        too little
    p <= 0.05 or p >= 0.95          stop                    precision path
    0.85 <= p < 0.95                fast path A, then stop  precision path
    0.70 <= p < 0.85                fast path B, then stop  precision path
    0.05 <  p < 0.70                precision path          precision path

The numbers are the defaults of `manifest.Routing`. A sample without voters (NaN) takes the
precision path.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.manifest import Routing


class Path(StrEnum):
    """Next step of a sample."""

    STOP = "stop"
    FAST_A = "fast_a"
    FAST_B = "fast_b"
    PRECISION = "precision"


def route(p: FloatArray, agreement: FloatArray, routing: Routing) -> NDArray[np.str_]:
    """Return the path of each sample, shape (n,), as values of `Path`.

    Args:
        p: Fused probability of yes, shape (n,), NaN if there are no voters.
        agreement: Weighted share of voters on the fused side, shape (n,).
        routing: Thresholds.
    """
    p = np.asarray(p, np.float64)
    agreed = np.asarray(agreement, np.float64) >= routing.agreement
    cases = [
        agreed & ((p <= routing.stop_below) | (p >= routing.stop_above)),
        agreed & (p >= routing.fast_a_from),
        agreed & (p >= routing.fast_b_from),
    ]
    return np.select(cases, [Path.STOP, Path.FAST_A, Path.FAST_B], default=Path.PRECISION)


def needs_adjudication(p: FloatArray, agreement: FloatArray, routing: Routing) -> NDArray[np.bool_]:
    """Return whether each sample remains in doubt after the precision path, shape (n,).

    A sample is in doubt with too little agreement, with p inside the open interval
    `routing.adjudicate`, or without voters.
    """
    p = np.asarray(p, np.float64)
    low, high = routing.adjudicate
    agreed = np.asarray(agreement, np.float64) >= routing.agreement
    return ~agreed | ~((p <= low) | (p >= high))
