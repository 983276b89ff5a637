"""Which samples look alike: the cosine of their embeddings reaches a threshold.

All pairs of N samples cost N^2 / 2 products of vectors; the n new ones of a night against all
cost n x N. So pairs can be kept and extended, and are to the last one those that would be found
anew: a block of a matrix product, whose last digits depend on the block, only proposes; where
rounding could decide, the pair's own cosine does, summed in double precision and one order.

N is the number of samples, D the length of an embedding, P of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array

CHUNK = 2048  # rows of a matrix product: 2048 x 2048 float32 are 16 MB
MOST_PAIRS = 10_000_000  # of one pool: 160 MB
_MOST_EXACT = 4096  # cosines at once in double precision: 80 MB of vectors of length 1280


@dataclass(frozen=True, eq=False)
class SimilarPairs:
    """All pairs of a pool that look alike.

    Attributes:
        cosine: From which cosine on.
        pairs: Two rows of the pool each, shape (P, 2), each pair once, in any order.
    """

    cosine: float
    pairs: Int64Array

    def neighbours(self, n: int) -> tuple[Int64Array, Int64Array]:
        """Return the rows that look like each of `n` rows, one list after the other.

        Returns:
            Where the list of each row begins, shape (n + 1,), and the lists, shape (2P,).
        """
        first, second = self.pairs.T
        rows, others = np.concatenate([first, second]), np.concatenate([second, first])
        begins = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
        return begins.astype(np.int64), others[np.argsort(rows, kind="stable")]


def find_pairs(
    embeddings: FloatArray, cosine: float, *, known: int = 0, most: int = MOST_PAIRS
) -> Int64Array | None:
    """Return the pairs of which at least one row is not known yet, shape (P, 2).

    Time grows with (N - known) x N; memory with N and P.

    Args:
        embeddings: Scaled to length 1, shape (N, D), float32.
        cosine: The threshold, reached counts.
        known: So many rows come first whose pairs with each other are left out.
        most: Where there are more pairs, None is returned: keeping them is not worth it.
    """
    n, found, total = len(embeddings), [np.empty((0, 2), np.int64)], 0
    for start in range(known, n, CHUNK):
        rows = np.arange(start, min(start + CHUNK, n))
        for other in range(0, int(rows[-1]) + 1, CHUNK):
            others = np.arange(other, min(other + CHUNK, int(rows[-1]) + 1))
            close = compare(embeddings, rows, others, cosine)
            if not close.any():
                continue
            i, j = np.divmod(np.flatnonzero(close), len(others))
            pairs = np.stack([others[j], rows[i]], axis=1)
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
            total += len(found[-1])
            if total > most:
                return None
    return np.concatenate(found)


def compare(
    embeddings: FloatArray, rows: Int64Array, others: Int64Array, cosine: float
) -> BoolArray:
    """Return which of some rows look like which of others, shape (len(rows), len(others)).

    The answer for two rows does not depend on what else is asked.
    """
    similar = embeddings[rows] @ embeddings[others].T
    slack = embeddings.shape[1] * float(np.finfo(np.float32).eps)  # twice what rounding can do
    close = similar >= cosine - slack
    found = np.flatnonzero(close)
    doubtful = found[similar.reshape(-1)[found] < cosine + slack]
    for start in range(0, len(doubtful), _MOST_EXACT):
        part = doubtful[start : start + _MOST_EXACT]
        i, j = np.divmod(part, len(others))
        exact = _cosines(embeddings[rows[i]], embeddings[others[j]])
        close.reshape(-1)[part] = exact >= cosine
    return close


def _cosines(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the cosine of each row of `a` and `b`, which are of length 1."""
    return (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1)
