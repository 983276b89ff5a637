"""Greedy uncertainty coverage: which candidates stand for most of what is not covered yet.

With embeddings z of length 1, the Gaussian kernel k(a, b) = exp(-|a - b|^2 / sigma^2), the
labeled samples L, those chosen so far S and the worth U_n of point n, the next one is

    argmax_x  scale(x) * quota(x) * sum_n U_n max(0, k(z_n, z_x) - max_{l in L+S} k(z_n, z_l))

The sum never grows as S grows, and neither does the quota's factor, so an old value is an
upper bound and only the candidates at the top are evaluated again (lazy greedy, exact).
Memory is linear in the number of points: kernels are made in blocks and thrown away.

A is the number of candidates, T of points, L of labeled samples, G of slices, D the length
of an embedding. Embeddings are float32.

- [0] Bae et al., Uncertainty Herding, ICLR 2025; with U = 1 it is MaxHerding (ECCV 2024)
- [1] Minoux, Accelerated Greedy Algorithms, 1978 (lazy evaluation)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_BLOCK_BYTES = 32 * 2**20  # of one block of kernel values
_REFRESHED = 16  # candidates that are evaluated again at a time
_LABELED_ENOUGH = 50  # from here on the labeled samples set the bandwidth
_LABELED_MOST = 2_000  # of them, for the percentile over their pairs
_QUERIES = 1_000  # points whose nearest neighbour is looked up, for the median
_TIE = 1e-6  # relative: closer scores are equal, whatever the order of a float32 sum says
_POSITIVE = 1e-3  # distances below are zero: float32 cosines of equal vectors give 5e-4


@dataclass(frozen=True, eq=False)
class Quota:
    """How many of each slice are wanted in the batch.

    Attributes:
        belongs: Which candidate belongs to which slice, shape (G, A).
        wanted: Samples wanted of each slice, above 0, shape (G,).
        have: Samples of each slice that are in the batch already, shape (G,).
    """

    belongs: Bools
    wanted: Floats
    have: Ints

    def factor(self, have: Ints) -> Floats:
        """Return 1 + the sum over a candidate's slices of the share still missing, (A,)."""
        missing = np.maximum(self.wanted - have, 0.0) / self.wanted
        return 1.0 + missing @ self.belongs


@dataclass(frozen=True, eq=False)
class Herd:
    """What greedy coverage picked.

    Attributes:
        order: Rows of the candidates, first pick first, shape (B,).
        gain: What each pick added to the coverage when it was picked, shape (B,).
        nearest: Cosine to the nearest labeled or picked sample at that moment, shape (B,);
            -inf where there was none.
        evaluations: How many gains were computed; plain greedy needs A x B.
    """

    order: Ints
    gain: Floats
    nearest: Floats
    evaluations: int


def herd(
    candidates: Floats,
    points: Floats,
    worth: Floats,
    *,
    budget: int,
    sigma: float,
    taken: Floats,
    scale: Floats | None = None,
    quota: Quota | None = None,
) -> Herd:
    """Pick up to `budget` candidates; of equal ones, the first.

    Args:
        candidates: Embeddings that may be picked, shape (A, D).
        points: Embeddings that are to be covered, shape (T, D).
        worth: What covering each point is worth, shape (T,), not negative.
        budget: How many to pick; fewer are picked when there are fewer candidates.
        sigma: The kernel's width, in units of distance, above 0.
        taken: Embeddings that cover already: labeled, or in the batch, shape (L, D).
        scale: A factor on each candidate's gain, shape (A,), above 0, for instance of cost.
        quota: What slices the batch should hold.
    """
    factors = np.ones(len(candidates)) if scale is None else scale
    have = None if quota is None else quota.have.copy()
    lazy = _Lazy(candidates, points, worth, sigma, nearest_cosine(points, taken))
    near = nearest_cosine(candidates, taken)
    order, gains, nearest = [], [], []
    for _ in range(min(budget, len(candidates))):
        by_slice = 1.0 if quota is None or have is None else quota.factor(have)
        pick = lazy.best(factors * by_slice)
        order.append(pick)
        gains.append(lazy.bound[pick])
        nearest.append(near[pick])
        lazy.take(pick)
        near = np.maximum(near, candidates @ candidates[pick])
        if quota is not None and have is not None:
            have += quota.belongs[:, pick]
    return Herd(
        order=np.array(order, np.int64),
        gain=np.array(gains, np.float64),
        nearest=np.array(nearest, np.float64),
        evaluations=lazy.evaluations,
    )


def bandwidth(labeled: Floats, pool: Floats, rng: np.random.Generator) -> float:
    """Return the kernel's width sigma, in units of distance.

    From 50 labeled samples on, it is the 1st percentile of the positive distances between
    them (the least distance [0] collapses to 0 with near-duplicates); before, the median
    distance of a pool point to its nearest neighbour. Both are taken over uniform samples.

    Args:
        labeled: Embeddings of the labeled samples, shape (L, D).
        pool: Embeddings of the pool, shape (N, D).
        rng: Draws the samples.
    """
    if len(labeled) >= _LABELED_ENOUGH:
        some = labeled[_uniform(len(labeled), _LABELED_MOST, rng)]
        apart = _distance(some @ some.T)[np.triu_indices(len(some), k=1)]
        found = _positive(apart)
        if len(found):
            return float(np.percentile(found, 1))
    found = _positive(_to_neighbour(pool, _uniform(len(pool), _QUERIES, rng)))
    return float(np.median(found)) if len(found) else 1.0  # all alike: any width will do


def nearest_cosine(points: Floats, others: Floats) -> Floats:
    """Return the cosine of each point to the nearest of the others, (T,); -inf without any."""
    best = np.full(len(points), -np.inf, np.float32)
    if not len(others):
        return best
    for rows in _blocks(len(points), columns=min(len(others), 4096)):
        for columns in _blocks(len(others), rows=4096):
            similar = points[rows] @ others[columns].T
            np.maximum(best[rows], similar.max(axis=1), out=best[rows])
    return best


def covered(points: Floats, worth: Floats, *, taken: Floats, chosen: Floats, sigma: float) -> float:
    """Return how much the chosen samples add to the coverage of the points by the taken ones."""
    before = nearest_cosine(points, taken)
    after = np.maximum(before, nearest_cosine(points, chosen))
    return float(worth @ (kernel(after, sigma) - kernel(before, sigma)).astype(np.float64))


def kernel(cosine: Floats, sigma: float) -> Floats:
    """Return exp(-d^2 / sigma^2) of two unit vectors, of which d^2 = 2 - 2 cosine."""
    return np.exp((2.0 * np.minimum(cosine, 1.0) - 2.0) / sigma**2)


class _Lazy:
    """The candidates' gains as upper bounds, made exact only where it matters."""

    def __init__(
        self, candidates: Floats, points: Floats, worth: Floats, sigma: float, cosine: Floats
    ) -> None:
        self._candidates, self._points = candidates, points
        self._worth, self._sigma = worth.astype(np.float64), sigma
        self._cover = kernel(cosine, sigma)
        self._noise = 1e-6 * max(1.0, sigma**-2)  # what float32 cosines leave in a kernel
        self._open = np.ones(len(candidates), bool)
        self._fresh = np.zeros(len(candidates), bool)
        self.bound = np.full(len(candidates), np.inf)
        self.evaluations = 0
        for rows in _blocks(len(candidates), columns=len(points)):
            self._refresh(np.arange(len(candidates))[rows])

    def best(self, factors: Floats) -> int:
        """Return the open candidate whose gain x factor is greatest, the first of equals."""
        while True:
            score = np.where(self._open, self.bound * factors, -np.inf)
            top = np.flatnonzero(score >= score.max() * (1.0 - _TIE))
            if self._fresh[top].all():
                return int(top[0])
            stale = np.flatnonzero(self._open & ~self._fresh)
            first = np.argsort(-score[stale], kind="stable")[:_REFRESHED]
            self._refresh(stale[first])

    def take(self, pick: int) -> None:
        """Let a candidate cover: every other gain may have shrunk."""
        cosine = self._points @ self._candidates[pick]
        np.maximum(self._cover, kernel(cosine, self._sigma), out=self._cover)
        self._open[pick] = False
        self._fresh = self.bound == 0.0  # nothing left to shrink

    def _refresh(self, rows: Ints) -> None:
        values = kernel(self._candidates[rows] @ self._points.T, self._sigma)
        values -= self._cover
        values *= values > self._noise
        self.bound[rows] = values.astype(np.float64) @ self._worth
        self._fresh[rows] = True
        self.evaluations += len(rows)


def _to_neighbour(pool: Floats, queries: Ints) -> Floats:
    """Return the distance of each query to its nearest neighbour in the pool but itself."""
    best = np.full(len(queries), -np.inf)
    for rows in _blocks(len(queries), columns=len(pool)):
        similar = pool[queries[rows]] @ pool.T
        similar[np.arange(len(similar)), queries[rows]] = -np.inf
        best[rows] = similar.max(axis=1, initial=-np.inf)
    return _distance(best[np.isfinite(best)])


def _distance(cosine: Floats) -> Floats:
    return np.sqrt(np.maximum(2.0 - 2.0 * cosine, 0.0))


def _positive(distances: Floats) -> Floats:
    return distances[distances > _POSITIVE]


def _uniform(n: int, most: int, rng: np.random.Generator) -> Ints:
    """Return all of 0..n-1, or `most` of them drawn uniformly, ascending."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def _blocks(n: int, *, columns: int = 1, rows: int | None = None) -> list[slice]:
    """Return slices over n rows whose float32 kernel with so many columns fits a block."""
    step = rows or max(1, _BLOCK_BYTES // (4 * max(columns, 1)))
    return [slice(start, start + step) for start in range(0, n, step)]
