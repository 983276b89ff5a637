"""Pairs of similar samples: pairs of embeddings with a cosine of at least a threshold.

All pairs of N samples cost N^2 / 2 products of vectors; n new samples against all cost n x N.
Pairs can therefore be cached and extended, and the result equals a new search exactly: the last
digits of a matrix product depend on its block, so the product only proposes pairs. Where
rounding could matter, the cosine of the pair is computed in double precision, in fixed order.

N is the number of samples, D the length of an embedding, P of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array

CHUNK = 2048  # rows of a matrix product: 2048 x 2048 float32 are 16 MB
MAX_PAIRS = 10_000_000  # per pool: 160 MB
_EXACT_CHUNK = 4096  # cosines in double precision per step: 80 MB for embeddings of length 1280


@dataclass(frozen=True, eq=False)
class SimilarPairs:
    """All pairs of similar samples in a pool.

    Attributes:
        cosine: Lowest cosine of a pair.
        pairs: Two rows of the pool per pair, shape (P, 2), each pair once, in any order.
    """

    cosine: float
    pairs: Int64Array

    def neighbors(self, n: int) -> tuple[Int64Array, Int64Array]:
        """Return the similar rows of each of `n` rows, as concatenated lists.

        Returns:
            The start of each list and the end of the last, shape (n + 1,), and the lists,
            shape (2P,).
        """
        first, second = self.pairs.T
        rows, others = np.concatenate([first, second]), np.concatenate([second, first])
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
        return starts.astype(np.int64), others[np.argsort(rows, kind="stable")]


def find_pairs(
    embeddings: FloatArray, cosine: float, *, n_compared: int = 0, max_pairs: int = MAX_PAIRS
) -> Int64Array | None:
    """Return the similar pairs with at least one new row, shape (P, 2).

    Time grows with (N - n_compared) x N; memory with N and P.

    Args:
        embeddings: Unit vectors, shape (N, D), float32.
        cosine: Lowest cosine of a pair.
        n_compared: Number of first rows that were compared with each other before.
        max_pairs: With more pairs, return None: they are not worth storing.
    """
    n, parts, total = len(embeddings), [np.empty((0, 2), np.int64)], 0
    for start in range(n_compared, n, CHUNK):
        rows = np.arange(start, min(start + CHUNK, n))
        for other in range(0, int(rows[-1]) + 1, CHUNK):
            others = np.arange(other, min(other + CHUNK, int(rows[-1]) + 1))
            similar = compare(embeddings, rows, others, cosine)
            if not similar.any():
                continue
            i, j = np.divmod(np.flatnonzero(similar), len(others))
            pairs = np.stack([others[j], rows[i]], axis=1)
            parts.append(pairs[pairs[:, 0] < pairs[:, 1]])
            total += len(parts[-1])
            if total > max_pairs:
                return None
    return np.concatenate(parts)


def compare(
    embeddings: FloatArray, rows: Int64Array, others: Int64Array, cosine: float
) -> BoolArray:
    """Return which pairs of `rows` and `others` are similar, shape (len(rows), len(others)).

    The result for a pair does not depend on the other rows of the call.
    """
    product = embeddings[rows] @ embeddings[others].T
    slack = rounding_slack(embeddings)
    similar = product >= cosine - slack
    proposed = np.flatnonzero(similar)
    doubtful = proposed[product.reshape(-1)[proposed] < cosine + slack]
    for start in range(0, len(doubtful), _EXACT_CHUNK):
        chunk = doubtful[start : start + _EXACT_CHUNK]
        i, j = np.divmod(chunk, len(others))
        similar.reshape(-1)[chunk] = exact_cosines(embeddings, rows[i], others[j]) >= cosine
    return similar


def rounding_slack(embeddings: FloatArray) -> float:
    """Return twice the largest rounding error of a float32 cosine."""
    return embeddings.shape[1] * float(np.finfo(np.float32).eps)


def exact_cosines(embeddings: FloatArray, first: Int64Array, second: Int64Array) -> FloatArray:
    """Return the cosines of pairs of rows, in double precision and fixed order of summation."""
    a, b = embeddings[first].astype(np.float64), embeddings[second].astype(np.float64)
    return (a * b).sum(axis=1)
