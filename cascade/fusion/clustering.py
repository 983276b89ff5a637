"""Clustering of the boxes of an image by object: the discrete half of the consensus.

V is the number of boxes that vote, n of images. Two implementations give identical results:
`cluster_plain` is the readable reference, `clustering_jit` is for millions of boxes.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from cascade.arrays import IntArray
from cascade.fusion.votes import Votes
from cascade.geometry import boxes
from cascade.manifest import Fusion
from cascade.runtime.workload import Workload

_workload = Workload()


def cluster(votes: Votes, sizes_px: IntArray, fusion: Fusion) -> tuple[IntArray, IntArray]:
    """Return the rows of `votes` that count, and the cluster of each.

    Rows are sorted by image, then by descending probability, then by member and row. Clusters
    are numbered in the order of their seeds. See `consensus.fuse` for the rules.

    Args:
        votes: Calibrated votes.
        sizes_px: Height and width of each image, shape (n, 2).
        fusion: Thresholds.
    """
    if not _workload.should_compile(len(votes.p)):
        return cluster_plain(votes, sizes_px, fusion)
    from cascade.fusion import clustering_jit

    starts = np.searchsorted(votes.image, np.arange(votes.n_images + 1))
    kind = votes.member * len(votes.classes) + votes.class_id
    return clustering_jit.cluster(
        starts.astype(np.int64),
        np.ascontiguousarray(votes.p, np.float64),
        np.ascontiguousarray(votes.member, np.int64),
        np.ascontiguousarray(kind, np.int64),
        np.ascontiguousarray(votes.boxes_xyxy, np.float64),
        np.prod(np.asarray(sizes_px, np.float64).reshape(-1, 2), axis=1),
        (fusion.min_p, fusion.nms_iou, fusion.iou, fusion.small_iou, fusion.small_px),
    )


def cluster_plain(votes: Votes, sizes_px: IntArray, fusion: Fusion) -> tuple[IntArray, IntArray]:
    """Return the result of `cluster`, computed image by image."""
    order = np.lexsort((votes.member, -votes.p, votes.image))
    order = order[votes.p[order] >= fusion.min_p]
    starts = np.searchsorted(votes.image[order], np.arange(votes.n_images + 1))
    rows: list[IntArray] = [order[:0]]
    clusters: list[IntArray] = [order[:0]]
    n_clusters = 0
    for image, (start, stop) in enumerate(pairwise(starts)):
        if start == stop:
            continue
        unique, seed_of = _cluster_image(votes, order[start:stop], sizes_px[image], fusion)
        rows.append(unique)
        clusters.append(seed_of + n_clusters)
        n_clusters += int(seed_of.max()) + 1
    return np.concatenate(rows), np.concatenate(clusters)


def _cluster_image(
    votes: Votes, rows: IntArray, size_px: IntArray, fusion: Fusion
) -> tuple[IntArray, IntArray]:
    """Return the rows of one image without duplicates, and the seed of each."""
    corners = votes.boxes_xyxy[rows].astype(np.float64)
    overlaps = boxes.iou(corners, corners)
    kind = votes.member[rows] * len(votes.classes) + votes.class_id[rows]
    unique = boxes.greedy_suppression((kind[:, None] == kind) & (overlaps > fusion.nms_iou))
    overlaps = overlaps[np.ix_(unique, unique)]
    side_px = np.sqrt(boxes.areas(corners[unique]) * float(np.prod(size_px, dtype=np.float64)))
    min_iou = np.where(side_px < fusion.small_px, fusion.small_iou, fusion.iou)[:, None]
    covers = overlaps >= min_iou
    np.fill_diagonal(covers, True)  # an empty box overlaps nothing, not even itself
    seeds = boxes.greedy_suppression(covers)
    seed_overlaps = np.where(covers, overlaps, -1.0)[seeds]
    seed_of = seed_overlaps.argmax(axis=0)  # the first of equals, which is the most probable
    seed_of[seeds] = np.arange(len(seed_overlaps))
    return rows[unique], seed_of
