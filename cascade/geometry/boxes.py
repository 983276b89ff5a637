"""Overlap of boxes: what every matching and merging of them rests on.

Boxes are corners `x1, y1, x2, y2`, shape (N, 4), in any unit: overlap has none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray, IntArray


def areas(boxes_xyxy: FloatArray) -> FloatArray:
    """Return the area of each box, shape (N,); 0 for one without extent."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)
    return sides[:, 0] * sides[:, 1]


def iou(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Return the intersection over union of every pair, shape (A, B), in [0, 1].

    Two boxes without extent have none: 0.
    """
    a, b = np.asarray(a_xyxy, np.float64), np.asarray(b_xyxy, np.float64)
    x1, y1, x2, y2 = b.T
    width = np.minimum(a[:, 2:3], x2) - np.maximum(a[:, 0:1], x1)
    height = np.minimum(a[:, 3:4], y2) - np.maximum(a[:, 1:2], y1)
    both = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    union = areas(a)[:, None] + areas(b) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def greedy_suppression(covers: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows lead when each, in order, takes all that it covers out of the race.

    Args:
        covers: Shape (N, N), the best row first; `covers[i, j]` says that i, if it leads,
            leaves no place for j.
    """
    taken = np.zeros(len(covers), bool)
    leads = np.zeros(len(covers), bool)
    for i in range(len(covers)):
        if not taken[i]:
            leads[i] = True
            taken |= covers[i]
    return leads


def match(overlaps: FloatArray, *, least: float) -> IntArray:
    """Return the column that each row gets, -1 for none; each column goes to one row at most.

    Rows choose in order, each the free column that it overlaps most (the first of equals).

    Args:
        overlaps: IoU of shape (N, T), the surest row first.
        least: The overlap that a match needs, at least.
    """
    free = np.array(overlaps, np.float64)
    chosen = np.full(len(free), -1, np.int64)
    for row in np.flatnonzero((free >= least).any(axis=1)) if free.size else ():
        best = int(free[row].argmax())
        if free[row, best] >= least:
            chosen[row] = best
            free[:, best] = -1.0
    return chosen
