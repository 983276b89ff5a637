"""Overlap, suppression and matching of boxes.

Boxes are corners `x1, y1, x2, y2`, shape (N, 4), in any unit.
"""

from __future__ import annotations

import numpy as np

from cascade.arrays import BoolArray, FloatArray, IntArray


def areas(boxes_xyxy: FloatArray) -> FloatArray:
    """Return the area of each box, shape (N,); 0 for an empty box."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0)
    return sides[:, 0] * sides[:, 1]


def iou(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Return the intersection over union of every pair, shape (A, B), in [0, 1].

    The IoU of two empty boxes is 0.
    """
    a, b = np.asarray(a_xyxy, np.float64), np.asarray(b_xyxy, np.float64)
    x1, y1, x2, y2 = b.T
    width = np.minimum(a[:, 2:3], x2) - np.maximum(a[:, 0:1], x1)
    height = np.minimum(a[:, 3:4], y2) - np.maximum(a[:, 1:2], y1)
    intersection = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    union = areas(a)[:, None] + areas(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def greedy_suppression(covers: BoolArray) -> BoolArray:
    """Return the rows that remain when each of them, in order, suppresses the rows it covers.

    Args:
        covers: Shape (N, N), best row first; `covers[i, j]` if row i suppresses row j.
    """
    suppressed = np.zeros(len(covers), bool)
    remains = np.zeros(len(covers), bool)
    for i in range(len(covers)):
        if not suppressed[i]:
            remains[i] = True
            suppressed |= covers[i]
    return remains


def match(overlaps: FloatArray, *, least: float) -> IntArray:
    """Return the column matched to each row, -1 for none; each column is matched at most once.

    Rows choose in order, each the free column with the largest overlap (the first of equals).

    Args:
        overlaps: IoU of shape (N, T), highest-scored row first.
        least: Minimum overlap of a match.
    """
    free = np.array(overlaps, np.float64)
    matched = np.full(len(free), -1, np.int64)
    for row in np.flatnonzero((free >= least).any(axis=1)) if free.size else ():
        best = int(free[row].argmax())
        if free[row, best] >= least:
            matched[row] = best
            free[:, best] = -1.0
    return matched
