"""Greedy uncertainty coverage: which candidates stand for most of what is not covered yet.

With embeddings z of length 1, the Gaussian kernel k(a, b) = exp(-|a - b|^2 / sigma^2), the
labeled samples L, those chosen so far S and the worth U_n of point n, the next one is

    argmax_x  scale(x) * quota(x) * sum_n U_n max(0, k(z_n, z_x) - max_{l in L+S} k(z_n, z_l))

The sum never grows as S grows, and neither does the quota's factor, so an old value is an
upper bound and only the candidates at the top are evaluated again (lazy greedy, exact).
Memory is linear in the number of points: kernels are made in blocks and thrown away.

What is done with the large arrays is behind `Cover`: `ArrayCover` does it with numpy,
`device_coverage.DeviceCover` on a GPU.

A is the number of candidates, T of points, L of labeled samples, G of slices, D the length
of an embedding. Embeddings are float32.

- [0] Bae et al., Uncertainty Herding, ICLR 2025; with U = 1 it is MaxHerding (ECCV 2024)
- [1] Minoux, Accelerated Greedy Algorithms, 1978 (lazy evaluation)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array

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

    belongs: BoolArray
    wanted: FloatArray
    have: Int64Array

    def factor(self, have: Int64Array) -> FloatArray:
        """Return 1 + the sum over a candidate's slices of the share still missing, (A,)."""
        missing = np.maximum(self.wanted - have, 0.0) / self.wanted
        return 1.0 + missing @ self.belongs


@dataclass(frozen=True, eq=False)
class Picks:
    """What greedy coverage picked.

    Attributes:
        order: Rows of the candidates, first pick first, shape (B,).
        gain: What each pick added to the coverage when it was picked, shape (B,).
        nearest: Cosine to the nearest labeled or picked sample at that moment, shape (B,);
            -inf where there was none.
        evaluations: How many gains were computed; plain greedy needs A x B.
    """

    order: Int64Array
    gain: FloatArray
    nearest: FloatArray
    evaluations: int


class Cover(Protocol):
    """How well points are covered so far, and what candidates would add."""

    def gains(self, rows: Int64Array) -> FloatArray:
        """Return what each of these candidates would add, shape (len(rows),), float64."""
        ...

    def take(self, row: int) -> None:
        """Let a candidate cover the points."""
        ...

    def together(self) -> float:
        """Return what all candidates would add, if all of them covered."""
        ...


class CoverFactory(Protocol):
    """Builds a `Cover`; all arrays are numpy's, the embeddings float32."""

    def __call__(
        self,
        candidates: FloatArray,
        points: FloatArray,
        worth: FloatArray,
        *,
        sigma: float,
        taken: FloatArray,
    ) -> Cover:
        """Return how well `taken` cover the points; the arguments are as in `herd`."""
        ...


def pick_greedily(
    candidates: FloatArray,
    points: FloatArray,
    worth: FloatArray,
    *,
    budget: int,
    sigma: float,
    taken: FloatArray,
    scale: FloatArray | None = None,
    quota: Quota | None = None,
    cover: CoverFactory | None = None,
) -> Picks:
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
        cover: Does the arithmetic; `ArrayCover` where None.
    """
    factors = np.ones(len(candidates)) if scale is None else scale
    have = None if quota is None else quota.have.copy()
    made = (cover or ArrayCover)(candidates, points, worth, sigma=sigma, taken=taken)
    lazy = _Lazy(made, len(candidates))
    order, gains = [], []
    for _ in range(min(budget, len(candidates))):
        by_slice = 1.0 if quota is None or have is None else quota.factor(have)
        pick = lazy.best(factors * by_slice)
        order.append(pick)
        gains.append(lazy.bound[pick])
        lazy.take(pick)
        if quota is not None and have is not None:
            have += quota.belongs[:, pick]
    rows = np.array(order, np.int64)
    return Picks(
        order=rows,
        gain=np.array(gains, np.float64),
        nearest=_nearest_before(candidates[rows], taken),
        evaluations=lazy.evaluations,
    )


def bandwidth(labeled: FloatArray, pool: FloatArray, rng: np.random.Generator) -> float:
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


def nearest_cosine(points: FloatArray, others: FloatArray) -> FloatArray:
    """Return the cosine of each point to the nearest of the others, (T,); -inf without any."""
    best = np.full(len(points), -np.inf, np.float32)
    if not len(others):
        return best
    for rows in _blocks(len(points), columns=min(len(others), 4096)):
        for columns in _blocks(len(others), rows=4096):
            similar = points[rows] @ others[columns].T
            np.maximum(best[rows], similar.max(axis=1), out=best[rows])
    return best


def covered(
    points: FloatArray,
    worth: FloatArray,
    *,
    taken: FloatArray,
    chosen: FloatArray,
    sigma: float,
    cover: CoverFactory | None = None,
) -> float:
    """Return how much the chosen samples add to the coverage of the points by the taken ones."""
    return (cover or ArrayCover)(chosen, points, worth, sigma=sigma, taken=taken).together()


def kernel(cosine: FloatArray, sigma: float) -> FloatArray:
    """Return exp(-d^2 / sigma^2) of two unit vectors, of which d^2 = 2 - 2 cosine."""
    return np.exp((2.0 * np.minimum(cosine, 1.0) - 2.0) / sigma**2)


def noise(sigma: float) -> float:
    """Return what float32 cosines leave in a kernel: a gain below is none."""
    return 1e-6 * max(1.0, sigma**-2)


class ArrayCover:
    """A `Cover` that numpy computes: see `herd` for the arguments."""

    def __init__(
        self,
        candidates: FloatArray,
        points: FloatArray,
        worth: FloatArray,
        *,
        sigma: float,
        taken: FloatArray,
    ) -> None:
        self._candidates, self._points = candidates, points
        self._worth, self._sigma = worth.astype(np.float64), sigma
        self._cover = kernel(nearest_cosine(points, taken), sigma)
        self._rows = max(1, _BLOCK_BYTES // (4 * max(len(points), 1)))

    def gains(self, rows: Int64Array) -> FloatArray:
        """Return what each of these candidates would add."""
        found = np.empty(len(rows))
        least = noise(self._sigma)
        for start in range(0, len(rows), self._rows):
            part = rows[start : start + self._rows]
            values = self._candidates[part] @ self._points.T
            values -= 1.0  # in place from here on: exp(2 (cosine - 1) / sigma^2) - cover
            np.minimum(values, 0.0, out=values)
            values *= 2.0 / self._sigma**2
            np.exp(values, out=values)
            values -= self._cover
            values *= values > least
            found[start : start + len(part)] = values.astype(np.float64) @ self._worth
        return found

    def take(self, row: int) -> None:
        """Let a candidate cover the points."""
        cosine = self._points @ self._candidates[row]
        np.maximum(self._cover, kernel(cosine, self._sigma), out=self._cover)

    def together(self) -> float:
        """Return what all candidates would add, if all of them covered."""
        after = kernel(nearest_cosine(self._points, self._candidates), self._sigma)
        return float(self._worth @ np.maximum(after - self._cover, 0.0).astype(np.float64))


class _Lazy:
    """The candidates' gains as upper bounds, made exact only where it matters."""

    def __init__(self, cover: Cover, n: int) -> None:
        self._cover = cover
        self._open = np.ones(n, bool)
        self._fresh = np.ones(n, bool)
        self.bound = cover.gains(np.arange(n))
        self.evaluations = n

    def best(self, factors: FloatArray) -> int:
        """Return the open candidate whose gain x factor is greatest, the first of equals."""
        score = np.where(self._open, self.bound * factors, -np.inf)
        while True:
            top = np.flatnonzero(score >= score.max() * (1.0 - _TIE))
            if self._fresh[top].all():
                return int(top[0])
            stale = np.flatnonzero(self._open & ~self._fresh)
            if len(stale) > _REFRESHED:
                stale = stale[np.argpartition(-score[stale], _REFRESHED)[:_REFRESHED]]
            self.bound[stale] = self._cover.gains(stale)
            score[stale] = (self.bound * factors)[stale]
            self._fresh[stale] = True
            self.evaluations += len(stale)

    def take(self, pick: int) -> None:
        """Let a candidate cover: every other gain may have shrunk."""
        self._cover.take(pick)
        self._open[pick] = False
        self._fresh = self.bound == 0.0  # nothing left to shrink


def _nearest_before(picked: FloatArray, taken: FloatArray) -> FloatArray:
    """Return the cosine of each pick to the nearest of the taken and the earlier picks, (B,)."""
    best = nearest_cosine(picked, taken)
    for rows in _blocks(len(picked), columns=len(picked)):
        similar = picked[rows] @ picked[: rows.stop].T
        later = (
            np.arange(similar.shape[1]) >= np.arange(rows.start, rows.start + len(similar))[:, None]
        )
        similar[later] = -np.inf
        best[rows] = np.maximum(best[rows], similar.max(axis=1, initial=-np.inf))
    return best.astype(np.float64)


def _to_neighbour(pool: FloatArray, queries: Int64Array) -> FloatArray:
    """Return the distance of each query to its nearest neighbour in the pool but itself."""
    best = np.full(len(queries), -np.inf)
    for rows in _blocks(len(queries), columns=len(pool)):
        similar = pool[queries[rows]] @ pool.T
        similar[np.arange(len(similar)), queries[rows]] = -np.inf
        best[rows] = similar.max(axis=1, initial=-np.inf)
    return _distance(best[np.isfinite(best)])


def _distance(cosine: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(2.0 - 2.0 * cosine, 0.0))


def _positive(distances: FloatArray) -> FloatArray:
    return distances[distances > _POSITIVE]


def _uniform(n: int, most: int, rng: np.random.Generator) -> Int64Array:
    """Return all of 0..n-1, or `most` of them drawn uniformly, ascending."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def _blocks(n: int, *, columns: int = 1, rows: int | None = None) -> list[slice]:
    """Return slices over n rows whose float32 kernel with so many columns fits a block."""
    step = rows or max(1, _BLOCK_BYTES // (4 * max(columns, 1)))
    return [slice(start, start + step) for start in range(0, n, step)]
