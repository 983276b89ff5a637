"""The clusters of `clustering`, for millions of boxes; V is the number of boxes, n of images."""

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
        starts: Where the rows of each image start, and the end, shape (n + 1,).
        p: Shape (V,).
        member: Shape (V,).
        kind: The same for boxes of one member and class, shape (V,).
        boxes_xyxy: Relative corners, shape (V, 4).
        area_px: Of each image, shape (n,).
        thresholds: `min_p`, `nms_iou`, `iou`, `small_iou`, `small_px` of the fusion.
    """
    min_p, nms_iou, iou, small_iou, small_px = thresholds
    rows, clusters = np.empty(len(p), np.int64), np.empty(len(p), np.int64)
    kept, n_clusters = 0, 0
    for image in range(len(starts) - 1):
        found = _surest_first(starts[image], starts[image + 1], p, member, min_p)
        n = _drop_doubles(found, kind, boxes_xyxy, nms_iou)
        seed = np.full(n, -1, np.int64)  # the seed of each box, by its place
        best = np.full(n, -1.0)  # how much that overlaps it
        seeds = 0
        for i in range(n):
            if seed[i] >= 0:
                continue
            side_px = np.sqrt(_area(boxes_xyxy, found[i]) * area_px[image])
            least = small_iou if side_px < small_px else iou
            for j in range(n):  # earlier boxes too: a later seed may overlap them more
                if j < i and best[j] == np.inf:
                    continue
                overlap = _iou(boxes_xyxy, found[i], found[j])
                if overlap >= least and overlap > best[j]:
                    seed[j], best[j] = seeds, overlap
            seed[i], best[i] = seeds, np.inf
            seeds += 1
        for i in range(n):
            rows[kept], clusters[kept] = found[i], n_clusters + seed[i]
            kept += 1
        n_clusters += seeds
    return rows[:kept].copy(), clusters[:kept].copy()


@jit_compile
def _surest_first(start: int, stop: int, p: FloatArray, member: IntArray, min_p: float) -> IntArray:
    """Return the rows of an image from `min_p` on, by (-p, member, row): a stable merge sort."""
    found = np.empty(stop - start, np.int64)
    n = 0
    for row in range(start, stop):
        if p[row] >= min_p:
            found[n] = row
            n += 1
    found = found[:n]
    other = np.empty(n, np.int64)
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            i, middle, end = low, min(low + width, n), min(low + 2 * width, n)
            j = middle
            for k in range(low, end):
                take_left = j >= end
                if i < middle and j < end:
                    a, b = found[i], found[j]
                    take_left = p[a] > p[b] or (p[a] == p[b] and member[a] <= member[b])
                if take_left:
                    other[k] = found[i]
                    i += 1
                else:
                    other[k] = found[j]
                    j += 1
        found, other = other, found
        width *= 2
    return found


@jit_compile
def _drop_doubles(found: IntArray, kind: IntArray, boxes_xyxy: FloatArray, nms_iou: float) -> int:
    """Move the rows without a surer double to the front, in order; return how many they are."""
    n = 0
    for i in range(len(found)):
        single = True
        for j in range(n):
            if kind[found[j]] == kind[found[i]]:
                single = _iou(boxes_xyxy, found[j], found[i]) <= nms_iou
                if not single:
                    break
        if single:
            found[n] = found[i]
            n += 1
    return n


@jit_compile
def _area(boxes_xyxy: FloatArray, row: int) -> float:
    width = max(boxes_xyxy[row, 2] - boxes_xyxy[row, 0], 0.0)
    height = max(boxes_xyxy[row, 3] - boxes_xyxy[row, 1], 0.0)
    return width * height


@jit_compile
def _iou(boxes_xyxy: FloatArray, i: int, j: int) -> float:
    """Return the overlap of two boxes as `boxes.iou` has it, to the bit."""
    width = min(boxes_xyxy[i, 2], boxes_xyxy[j, 2]) - max(boxes_xyxy[i, 0], boxes_xyxy[j, 0])
    height = min(boxes_xyxy[i, 3], boxes_xyxy[j, 3]) - max(boxes_xyxy[i, 1], boxes_xyxy[j, 1])
    both = max(width, 0.0) * max(height, 0.0)
    union = _area(boxes_xyxy, i) + _area(boxes_xyxy, j) - both
    return both / union if union > 0 else 0.0
