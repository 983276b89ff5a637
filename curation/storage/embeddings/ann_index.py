"""Samples that look alike, in a large pool: an approximate index, the only file that names faiss.

Comparing all pairs of a million samples takes hours. Here vectors are sorted into cells around
centroids, and each is compared with those of the few cells nearest to it. Every pair that is
found looks alike by the same rule as in `alike`; some pairs across the borders of cells are not
found: for thresholds around .975, well under one in a hundred.

N is the number of samples, D the length of an embedding, P of pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade.arrays import FloatArray, Int64Array
from curation.storage.embeddings.similar_pairs import MOST_PAIRS

_PROBED = 8  # cells that are looked into
_PER_CELL = 400  # vectors, on average
_TRAINED_ON = 40  # vectors for each centroid
_QUERIES = 4096  # at a time
_SEED = 51


def find_pairs(
    embeddings: FloatArray, cosine: float, *, known: int = 0, most: int = MOST_PAIRS
) -> Int64Array | None:
    """Return nearly all pairs of which at least one row is not known yet, shape (P, 2).

    Args:
        embeddings: Scaled to length 1, shape (N, D), float32.
        cosine: The threshold, reached counts.
        known: So many rows come first whose pairs with each other are left out.
        most: Where there are more pairs, None is returned: keeping them is not worth it.
    """
    n = len(embeddings)
    if n - known <= 0 or n < 2:
        return np.empty((0, 2), np.int64)
    index = _indexed(embeddings)
    slack = embeddings.shape[1] * float(np.finfo(np.float32).eps)  # twice what rounding can do
    keys, total = [np.empty(0, np.int64)], 0
    for start in range(known, n, _QUERIES):
        rows = np.arange(start, min(start + _QUERIES, n))
        ends, similar, others = index.range_search(embeddings[rows], cosine - slack)
        asked = np.repeat(rows, np.diff(ends.astype(np.int64)))
        there = asked != others
        first, second = np.minimum(asked, others)[there], np.maximum(asked, others)[there]
        sure = similar[there] >= cosine + slack
        sure[~sure] = _cosines(embeddings, first[~sure], second[~sure]) >= cosine
        keys.append((first * n + second)[sure])
        total += len(keys[-1])
        if total > 2 * most:  # each may be found from either end
            return None
    pairs = np.stack(np.divmod(np.unique(np.concatenate(keys)), n), axis=1)
    return None if len(pairs) > most else pairs


def _indexed(embeddings: FloatArray) -> Any:
    """Return an index that looks into a few cells, and holds all rows under their numbers."""
    import faiss

    n, d = embeddings.shape
    cells = max(1, n // _PER_CELL)
    index: Any = faiss.index_factory(d, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # it would warn: some cells are meant to be small
    index.cp.max_points_per_centroid = _TRAINED_ON
    index.cp.seed = _SEED
    index.cp.niter = 6
    index.nprobe = _PROBED
    index.train(embeddings)
    for start in range(0, n, 16 * _QUERIES):
        index.add(embeddings[start : start + 16 * _QUERIES])
    return index


def _cosines(embeddings: FloatArray, first: Int64Array, second: Int64Array) -> FloatArray:
    """Return the cosine of pairs of rows, in double precision and in one order."""
    found = np.empty(len(first))
    for start in range(0, len(first), _QUERIES):
        part = slice(start, start + _QUERIES)
        a = embeddings[first[part]].astype(np.float64)
        found[part] = (a * embeddings[second[part]]).sum(axis=1)
    return found
