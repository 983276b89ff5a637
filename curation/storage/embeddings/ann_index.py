"""Approximate search for similar pairs in large pools, with faiss.

Comparing all pairs of a million samples takes hours. The index sorts vectors into cells around
centroids and compares each vector with those of the nearest cells. Every found pair satisfies
the same criterion as in `similar_pairs`. Some pairs across borders of cells are missed: well
under one percent for thresholds around 0.975.

N is the number of samples, D the length of an embedding, P of pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade.arrays import FloatArray, Int64Array
from curation.storage.embeddings.similar_pairs import MAX_PAIRS, exact_cosines, rounding_slack

_PROBED_CELLS = 8  # per query
_CELL_SIZE = 400  # vectors, on average
_TRAINING_POINTS = 40  # vectors per centroid
_QUERIES = 4096  # vectors per search
_SEED = 51


def find_pairs(
    embeddings: FloatArray, cosine: float, *, n_compared: int = 0, max_pairs: int = MAX_PAIRS
) -> Int64Array | None:
    """Return nearly all similar pairs with at least one new row, shape (P, 2).

    Args:
        embeddings: Unit vectors, shape (N, D), float32.
        cosine: Lowest cosine of a pair.
        n_compared: Number of first rows that were compared with each other before.
        max_pairs: With more pairs, return None: they are not worth storing.
    """
    n = len(embeddings)
    if n - n_compared <= 0 or n < 2:
        return np.empty((0, 2), np.int64)
    index = _build_index(embeddings)
    slack = rounding_slack(embeddings)
    keys, total = [np.empty(0, np.int64)], 0
    for start in range(n_compared, n, _QUERIES):
        rows = np.arange(start, min(start + _QUERIES, n))
        ends, similarity, others = index.range_search(embeddings[rows], cosine - slack)
        queries = np.repeat(rows, np.diff(ends.astype(np.int64)))
        distinct = queries != others
        first = np.minimum(queries, others)[distinct]
        second = np.maximum(queries, others)[distinct]
        similar = similarity[distinct] >= cosine + slack
        similar[~similar] = _cosines(embeddings, first[~similar], second[~similar]) >= cosine
        keys.append((first * n + second)[similar])
        total += len(keys[-1])
        if total > 2 * max_pairs:  # a pair may be found from both ends
            return None
    pairs = np.stack(np.divmod(np.unique(np.concatenate(keys)), n), axis=1)
    return None if len(pairs) > max_pairs else pairs


def _build_index(embeddings: FloatArray) -> Any:
    """Return an index of all rows, with their row numbers as ids."""
    import faiss

    n, d = embeddings.shape
    cells = max(1, n // _CELL_SIZE)
    index: Any = faiss.index_factory(d, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # silences a warning: small cells are intended
    index.cp.max_points_per_centroid = _TRAINING_POINTS
    index.cp.seed = _SEED
    index.cp.niter = 6
    index.nprobe = _PROBED_CELLS
    index.train(embeddings)
    for start in range(0, n, 16 * _QUERIES):
        index.add(embeddings[start : start + 16 * _QUERIES])
    return index


def _cosines(embeddings: FloatArray, first: Int64Array, second: Int64Array) -> FloatArray:
    parts = [slice(start, start + _QUERIES) for start in range(0, len(first), _QUERIES)]
    cosines = [exact_cosines(embeddings, first[part], second[part]) for part in parts]
    return np.concatenate([np.empty(0), *cosines])
