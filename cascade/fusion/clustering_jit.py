"""Compiled clustering for millions of boxes; V is the number of boxes, n of images."""

from __future__ import annotations

import numpy as np

from cascade.arrays import FloatArray, IntArray
from cascade.runtime.jit import jit_compile

Thresholds = tuple[float, float, float, float, float]


@jit_compile
def cluster(
    starts: IntArray,
    p: FloatArray,
    member: IntArray,
    kind: IntArray,
    boxes_xyxy: FloatArray,
    area_px: FloatArray,
    thresholds: Thresholds,
) -> tuple[IntArray, IntArray]:
    """Return the rows that count, and the cluster of each; see `clustering.cluster`.

    Args:
        starts: First row of each image, and the number of rows, shape (n + 1,).
        p: Probability of each box, shape (V,).
        member: Member index of each box, shape (V,).
        kind: Equal numbers for boxes of one member and class, shape (V,).
        boxes_xyxy: Relative corners, shape (V, 4).
        area_px: Area of each image in pixels, shape (n,).
        thresholds: `min_p`, `nms_iou`, `iou`, `small_iou` and `small_px` of `Fusion`.
    """
    min_p, nms_iou, iou, small_iou, small_px = thresholds
    rows, clusters = np.empty(len(p), np.int64), np.empty(len(p), np.int64)
    n_rows, n_clusters = 0, 0
    for image in range(len(starts) - 1):
        order = _sorted_rows(starts[image], starts[image + 1], p, member, min_p)
        n = _suppress_duplicates(order, kind, boxes_xyxy, nms_iou)
        seed = np.full(n, -1, np.int64)  # index of each box's seed
        best = np.full(n, -1.0)  # overlap with the seed
        seeds = 0
        for i in range(n):
            if seed[i] >= 0:
                continue
            side_px = np.sqrt(_area(boxes_xyxy, order[i]) * area_px[image])
            min_iou = small_iou if side_px < small_px else iou
            for j in range(n):  # earlier boxes too: a later seed may overlap them more
                if j < i and best[j] == np.inf:
                    continue
                overlap = _iou(boxes_xyxy, order[i], order[j])
                if overlap >= min_iou and overlap > best[j]:
                    seed[j], best[j] = seeds, overlap
            seed[i], best[i] = seeds, np.inf
            seeds += 1
        for i in range(n):
            rows[n_rows], clusters[n_rows] = order[i], n_clusters + seed[i]
            n_rows += 1
        n_clusters += seeds
    return rows[:n_rows].copy(), clusters[:n_rows].copy()


@jit_compile
def _sorted_rows(start: int, stop: int, p: FloatArray, member: IntArray, min_p: float) -> IntArray:
    """Return the rows with p >= min_p, sorted by (-p, member, row): a stable merge sort."""
    order = np.empty(stop - start, np.int64)
    n = 0
    for row in range(start, stop):
        if p[row] >= min_p:
            order[n] = row
            n += 1
    order = order[:n]
    merged = np.empty(n, np.int64)
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            i, middle, end = low, min(low + width, n), min(low + 2 * width, n)
            j = middle
            for k in range(low, end):
                take_left = j >= end
                if i < middle and j < end:
                    a, b = order[i], order[j]
                    take_left = p[a] > p[b] or (p[a] == p[b] and member[a] <= member[b])
                if take_left:
                    merged[k] = order[i]
                    i += 1
                else:
                    merged[k] = order[j]
                    j += 1
        order, merged = merged, order
        width *= 2
    return order


@jit_compile
def _suppress_duplicates(
    order: IntArray, kind: IntArray, boxes_xyxy: FloatArray, nms_iou: float
) -> int:
    """Move the rows without an earlier duplicate to the front, in order; return their number."""
    n = 0
    for i in range(len(order)):
        is_unique = True
        for j in range(n):
            if kind[order[j]] == kind[order[i]]:
                is_unique = _iou(boxes_xyxy, order[j], order[i]) <= nms_iou
                if not is_unique:
                    break
        if is_unique:
            order[n] = order[i]
            n += 1
    return n


@jit_compile
def _area(boxes_xyxy: FloatArray, row: int) -> float:
    width = max(boxes_xyxy[row, 2] - boxes_xyxy[row, 0], 0.0)
    height = max(boxes_xyxy[row, 3] - boxes_xyxy[row, 1], 0.0)
    return width * height


@jit_compile
def _iou(boxes_xyxy: FloatArray, i: int, j: int) -> float:
    """Return the IoU of two boxes, equal to `boxes.iou` bit by bit."""
    width = min(boxes_xyxy[i, 2], boxes_xyxy[j, 2]) - max(boxes_xyxy[i, 0], boxes_xyxy[j, 0])
    height = min(boxes_xyxy[i, 3], boxes_xyxy[j, 3]) - max(boxes_xyxy[i, 1], boxes_xyxy[j, 1])
    intersection = max(width, 0.0) * max(height, 0.0)
    union = _area(boxes_xyxy, i) + _area(boxes_xyxy, j) - intersection
    return intersection / union if union > 0 else 0.0
