"""Greedy uncertainty coverage: pick the candidates that cover most of the pool.

With unit embeddings z, the Gaussian kernel k(a, b) = exp(-|a - b|^2 / sigma^2), the labeled
samples L, the earlier picks S and the worth U_n of point n, the next pick is

    argmax_x  scale(x) * quota(x) * sum_n U_n max(0, k(z_n, z_x) - max_{l in L+S} k(z_n, z_l))

The sum and the quota's factor never grow with S, so an old value is an upper bound, and only the
top candidates are evaluated again (lazy greedy, exact). Kernels are computed in blocks, so memory
is linear in the number of points.

A `Cover` does the arithmetic on large arrays: `NumpyCover` here, or `coverage_torch.TorchCover`
on a GPU.

A is the number of candidates, T of points, L of labeled samples, G of slices, D the length
of an embedding. Embeddings are float32.

- [0] Bae et al., Uncertainty Herding, ICLR 2025; with U = 1 it is MaxHerding (ECCV 2024)
- [1] Minoux, Accelerated Greedy Algorithms, 1978 (lazy evaluation)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array

_BLOCK_BYTES = 32 * 2**20  # per block of kernel values
_REFRESHED = 16  # candidates that are evaluated again at a time
_MIN_LABELED = 50  # labeled samples that determine the bandwidth
_MAX_LABELED = 2_000  # labeled samples for the percentile over their pairs
_QUERIES = 1_000  # points for the median of nearest-neighbor distances
_TIE = 1e-6  # relative difference of equal scores: the order of float32 sums matters
_MIN_DISTANCE = 1e-3  # lower ones are zero: float32 cosines of equal vectors give 5e-4


@dataclass(frozen=True, eq=False)
class Quota:
    """Wanted number of samples per slice in the batch.

    Attributes:
        membership: Candidates in each slice, shape (G, A).
        wanted: Wanted samples of each slice, above 0, shape (G,).
        present: Samples of each slice in the batch before the first pick, shape (G,).
    """

    membership: BoolArray
    wanted: FloatArray
    present: Int64Array

    def factor(self, present: Int64Array) -> FloatArray:
        """Return 1 + the missing shares of a candidate's slices, shape (A,)."""
        missing = np.maximum(self.wanted - present, 0.0) / self.wanted
        return 1.0 + missing @ self.membership


@dataclass(frozen=True, eq=False)
class Picks:
    """Result of greedy coverage.

    Attributes:
        order: Rows of the candidates, first pick first, shape (B,).
        gain: Gain of coverage at each pick, shape (B,).
        nearest: Cosine of each pick to the nearest labeled or picked sample at that time, shape
            (B,); -inf without any.
        evaluations: Number of computed gains; plain greedy needs A x B.
    """

    order: Int64Array
    gain: FloatArray
    nearest: FloatArray
    evaluations: int


@dataclass(frozen=True, eq=False)
class Problem:
    """Arrays of a coverage problem.

    Attributes:
        candidates: Embeddings that may be picked, shape (A, D).
        points: Embeddings to cover, shape (T, D).
        worth: Worth of covering each point, shape (T,), not negative.
        covering: Embeddings that already cover: labeled or in the batch, shape (L, D).
        sigma: Width of the kernel in units of distance, above 0.
    """

    candidates: FloatArray
    points: FloatArray
    worth: FloatArray
    covering: FloatArray
    sigma: float


class Cover(Protocol):
    """Coverage of points, and the gains of candidates."""

    def gains(self, rows: Int64Array) -> FloatArray:
        """Return the gain of each candidate in `rows`, shape (len(rows),), float64."""
        ...

    def add(self, row: int) -> None:
        """Add a candidate to the covering samples."""
        ...

    def total_gain(self) -> float:
        """Return the gain of all candidates together."""
        ...


CoverFactory = Callable[[Problem], Cover]


def pick_greedily(
    problem: Problem,
    budget: int,
    *,
    scale: FloatArray | None = None,
    quota: Quota | None = None,
    cover: CoverFactory | None = None,
) -> Picks:
    """Pick up to `budget` candidates; of ties, the first.

    Args:
        problem: Candidates, points and covering samples.
        budget: Number of picks.
        scale: Factor of each candidate's gain, shape (A,), above 0, such as 1 / cost.
        quota: Wanted samples per slice.
        cover: Does the arithmetic; `NumpyCover` by default.
    """
    candidates = problem.candidates
    factors = np.ones(len(candidates)) if scale is None else scale
    present = None if quota is None else quota.present.copy()
    lazy = _LazyGains((cover or NumpyCover)(problem), len(candidates))
    order, gains = [], []
    for _ in range(min(budget, len(candidates))):
        by_slice = 1.0 if quota is None or present is None else quota.factor(present)
        pick = lazy.best(factors * by_slice)
        order.append(pick)
        gains.append(lazy.bound[pick])
        lazy.add(pick)
        if quota is not None and present is not None:
            present += quota.membership[:, pick]
    rows = np.array(order, np.int64)
    return Picks(
        order=rows,
        gain=np.array(gains, np.float64),
        nearest=_nearest_before(candidates[rows], problem.covering),
        evaluations=lazy.evaluations,
    )


def bandwidth(labeled: FloatArray, pool: FloatArray, rng: np.random.Generator) -> float:
    """Return the kernel's width sigma, in units of distance.

    From 50 labeled samples on, it is the 1st percentile of the positive distances between
    them (the minimum distance [0] collapses to 0 with near-duplicates); before, the median
    distance of a pool point to its nearest neighbor. Both are taken over uniform samples.

    Args:
        labeled: Embeddings of the labeled samples, shape (L, D).
        pool: Embeddings of the pool, shape (N, D).
        rng: Random generator for the samples.
    """
    if len(labeled) >= _MIN_LABELED:
        sample = labeled[_uniform_rows(len(labeled), _MAX_LABELED, rng)]
        distances = _distance(sample @ sample.T)[np.triu_indices(len(sample), k=1)]
        positive = distances[distances > _MIN_DISTANCE]
        if len(positive):
            return float(np.percentile(positive, 1))
    distances = _neighbor_distances(pool, _uniform_rows(len(pool), _QUERIES, rng))
    positive = distances[distances > _MIN_DISTANCE]
    return float(np.median(positive)) if len(positive) else 1.0  # all equal: any width will do


def nearest_cosine(points: FloatArray, others: FloatArray) -> FloatArray:
    """Return the cosine of each point to the nearest of the others, (T,); -inf without any."""
    best = np.full(len(points), -np.inf, np.float32)
    if not len(others):
        return best
    for rows in _blocks(len(points), columns=min(len(others), 4096)):
        for columns in _blocks(len(others), rows=4096):
            cosines = points[rows] @ others[columns].T
            np.maximum(best[rows], cosines.max(axis=1), out=best[rows])
    return best


def kernel(cosine: FloatArray, sigma: float) -> FloatArray:
    """Return exp(-d^2 / sigma^2) of two unit vectors, with d^2 = 2 - 2 cosine."""
    return np.exp((2.0 * np.minimum(cosine, 1.0) - 2.0) / sigma**2)


def min_gain(sigma: float) -> float:
    """Return the rounding error of a kernel value from float32 cosines: lower gains are zero."""
    return 1e-6 * max(1.0, sigma**-2)


class NumpyCover:
    """A `Cover` in NumPy."""

    def __init__(self, problem: Problem) -> None:
        self._candidates, self._points = problem.candidates, problem.points
        self._worth, self._sigma = problem.worth.astype(np.float64), problem.sigma
        self._cover = kernel(nearest_cosine(self._points, problem.covering), self._sigma)
        self._rows = max(1, _BLOCK_BYTES // (4 * max(len(self._points), 1)))

    def gains(self, rows: Int64Array) -> FloatArray:
        """Return the gain of each candidate in `rows`."""
        gains = np.empty(len(rows))
        lowest = min_gain(self._sigma)
        for start in range(0, len(rows), self._rows):
            part = rows[start : start + self._rows]
            values = self._candidates[part] @ self._points.T
            values -= 1.0  # in place from here on: exp(2 (cosine - 1) / sigma^2) - cover
            np.minimum(values, 0.0, out=values)
            values *= 2.0 / self._sigma**2
            np.exp(values, out=values)
            values -= self._cover
            values *= values > lowest
            gains[start : start + len(part)] = values.astype(np.float64) @ self._worth
        return gains

    def add(self, row: int) -> None:
        """Add a candidate to the covering samples."""
        cosine = self._points @ self._candidates[row]
        np.maximum(self._cover, kernel(cosine, self._sigma), out=self._cover)

    def total_gain(self) -> float:
        """Return the gain of all candidates together."""
        after = kernel(nearest_cosine(self._points, self._candidates), self._sigma)
        return float(self._worth @ np.maximum(after - self._cover, 0.0).astype(np.float64))


class _LazyGains:
    """Upper bounds of the candidates' gains, made exact only for the top candidates."""

    def __init__(self, cover: Cover, n: int) -> None:
        self._cover = cover
        self._open = np.ones(n, bool)
        self._exact = np.ones(n, bool)
        self.bound = cover.gains(np.arange(n))
        self.evaluations = n

    def best(self, factors: FloatArray) -> int:
        """Return the open candidate with the highest gain x factor, the first of ties."""
        score = np.where(self._open, self.bound * factors, -np.inf)
        while True:
            top = np.flatnonzero(score >= score.max() * (1.0 - _TIE))
            if self._exact[top].all():
                return int(top[0])
            stale = np.flatnonzero(self._open & ~self._exact)
            if len(stale) > _REFRESHED:
                stale = stale[np.argpartition(-score[stale], _REFRESHED)[:_REFRESHED]]
            self.bound[stale] = self._cover.gains(stale)
            score[stale] = (self.bound * factors)[stale]
            self._exact[stale] = True
            self.evaluations += len(stale)

    def add(self, pick: int) -> None:
        """Add a pick to the covering samples, which may lower every other gain."""
        self._cover.add(pick)
        self._open[pick] = False
        self._exact = self.bound == 0.0  # these cannot become lower


def _nearest_before(picked: FloatArray, covering: FloatArray) -> FloatArray:
    """Return the cosine of each pick to the nearest covering sample or earlier pick, (B,)."""
    best = nearest_cosine(picked, covering)
    for rows in _blocks(len(picked), columns=len(picked)):
        cosines = picked[rows] @ picked[: rows.stop].T
        columns = np.arange(cosines.shape[1])
        cosines[columns >= np.arange(rows.start, rows.start + len(cosines))[:, None]] = -np.inf
        best[rows] = np.maximum(best[rows], cosines.max(axis=1, initial=-np.inf))
    return best.astype(np.float64)


def _neighbor_distances(pool: FloatArray, queries: Int64Array) -> FloatArray:
    """Return the distance of each query row to its nearest neighbor in the pool."""
    best = np.full(len(queries), -np.inf)
    for rows in _blocks(len(queries), columns=len(pool)):
        cosines = pool[queries[rows]] @ pool.T
        cosines[np.arange(len(cosines)), queries[rows]] = -np.inf
        best[rows] = cosines.max(axis=1, initial=-np.inf)
    return _distance(best[np.isfinite(best)])


def _distance(cosine: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(2.0 - 2.0 * cosine, 0.0))


def _uniform_rows(n: int, most: int, rng: np.random.Generator) -> Int64Array:
    """Return all of 0..n-1, or `most` of them drawn uniformly, ascending."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def _blocks(n: int, *, columns: int = 1, rows: int | None = None) -> list[slice]:
    """Return slices of n rows; a float32 block with `columns` columns has `_BLOCK_BYTES`."""
    step = rows or max(1, _BLOCK_BYTES // (4 * max(columns, 1)))
    return [slice(start, start + step) for start in range(0, n, step)]
