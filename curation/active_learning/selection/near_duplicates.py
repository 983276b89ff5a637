"""Removal of near-duplicates from a pool.

Two samples are near-duplicates if they are from one drive and less than a second apart, or if
the cosine of their embeddings reaches a threshold. Samples are visited from the hardest to the
easiest, and dropped if they are a near-duplicate of a retained sample. Every dropped sample is
therefore a near-duplicate of a retained one, and no two retained samples are near-duplicates.
(Clusters of connected pairs would be too large: frames half a second apart connect a whole
drive.)

Time grows with N x retained samples (one matrix product) or, with cached pairs, with the number
of pairs; the result is the same. Memory grows with N. N is the number of samples, D the length of
an embedding, P and Q of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array
from curation.errors import SelectionError
from curation.storage.embeddings import similar_pairs
from curation.storage.embeddings.similar_pairs import CHUNK, SimilarPairs

WITHIN_S = 1.0
COSINE = 0.975  # DINO's near-duplicates begin between .97 and .98; see `calibrate_cosine`
_TIME_TOLERANCE_S = 1e-6  # frames at 30 Hz are 0.99999... s apart after 30


@dataclass(frozen=True, eq=False)
class Deduplication:
    """Retained and dropped samples of N.

    Attributes:
        retained: Mask of the retained samples, shape (N,), bool.
        duplicate_of: The retained sample that each dropped one resembles, shape (N,), int64: the
            first visited with a similar embedding, or else the closest in time; -1 for retained
            samples.
    """

    retained: BoolArray
    duplicate_of: Int64Array

    @property
    def rows(self) -> Int64Array:
        """Rows of the retained samples, ascending."""
        return np.flatnonzero(self.retained)

    @property
    def dropped(self) -> Int64Array:
        """Rows of the dropped samples, ascending."""
        return np.flatnonzero(~self.retained)


@dataclass(frozen=True)
class Threshold:
    """Lowest cosine of near-duplicates.

    Attributes:
        cosine: The threshold.
        recall: Share of the known duplicates at or above it, in [0, 1].
        false_rate: Share of the known different pairs at or above it.
    """

    cosine: float
    recall: float
    false_rate: float


def deduplicate(
    embeddings: FloatArray,
    order: Int64Array,
    *,
    drives: Sequence[str | None],
    times_s: FloatArray,
    within_s: float = WITHIN_S,
    cosine: float = COSINE,
    n_protected: int = 0,
    pairs: SimilarPairs | None = None,
) -> Deduplication:
    """Return the samples that remain after dropping near-duplicates.

    Args:
        embeddings: Unit vectors, shape (N, D), float32.
        order: Rows in the order of visit, hardest first, shape (N,).
        drives: Drive of each sample; None if it has no drive.
        times_s: Seconds since the start of the drive, shape (N,), NaN if unknown.
        within_s: Near-duplicates in a drive are closer than this.
        cosine: Lowest cosine of near-duplicates.
        n_protected: Number of first samples in `order` that are always retained.
        pairs: All similar pairs, if cached; ignored if their threshold is not `cosine`.
    """
    clock = _Clock(drives, times_s, within_s)
    if pairs is not None and pairs.cosine == cosine:
        duplicate_of = _by_pairs(order, pairs, clock, n_protected)
    else:
        duplicate_of = _by_products(embeddings, order, clock, cosine, n_protected)
    return Deduplication(retained=duplicate_of < 0, duplicate_of=duplicate_of)


def calibrate_cosine(
    embeddings: FloatArray,
    duplicates: Int64Array,
    different: Int64Array,
    *,
    false_rate: float = 0.01,
) -> Threshold:
    """Return the lowest threshold with few false duplicates.

    It is halfway between the highest cosine that is too low and the next duplicate above.

    Args:
        embeddings: Unit vectors, shape (N, D).
        duplicates: Rows of known near-duplicates, shape (P, 2), such as augmented copies.
        different: Rows of known different pairs, shape (Q, 2), such as from two drives.
        false_rate: Allowed share of `different` above the threshold: each such pair may cost a
            sample that was worth labeling.

    Raises:
        SelectionError: The pairs of one kind are missing.
    """
    if not len(duplicates) or not len(different):
        raise SelectionError(
            "calibrate_cosine needs known duplicates and known different pairs, "
            f"got {len(duplicates)} and {len(different)}."
        )
    same, other = _cosines(embeddings, duplicates), _cosines(embeddings, different)
    too_low = np.sort(other)[::-1][min(int(false_rate * len(other)), len(other) - 1)]
    above = same[same > too_low]
    next_above = above.min() if len(above) else 1.0
    cosine = float(max((too_low + next_above) / 2, np.nextafter(too_low, 2.0)))
    return Threshold(
        cosine=cosine,
        recall=float((same >= cosine).mean()),
        false_rate=float((other >= cosine).mean()),
    )


class _Clock:
    """Times of retained samples, to find one that is less than `within_s` away."""

    def __init__(self, drives: Sequence[str | None], times_s: FloatArray, within_s: float) -> None:
        self._drives, self._times_s = drives, times_s
        self._within_s = within_s - _TIME_TOLERANCE_S
        self._rows: dict[tuple[str, int], list[int]] = {}

    def find(self, row: int) -> int:
        """Return the closest retained sample of the same drive and moment, -1 without any."""
        key = self._key(row)
        if key is None:
            return -1
        drive, slot = key
        near = [r for s in (slot - 1, slot, slot + 1) for r in self._rows.get((drive, s), ())]
        apart = [abs(float(self._times_s[row] - self._times_s[r])) for r in near]
        closest = int(np.argmin(apart)) if apart else -1
        return near[closest] if apart and apart[closest] < self._within_s else -1

    def add(self, row: int) -> None:
        """Add a retained sample."""
        key = self._key(row)
        if key is not None:
            self._rows.setdefault(key, []).append(row)

    def _key(self, row: int) -> tuple[str, int] | None:
        drive, time_s = self._drives[row], float(self._times_s[row])
        if drive is None or not np.isfinite(time_s) or self._within_s <= 0:
            return None
        return drive, int(time_s // self._within_s)


def _by_pairs(
    order: Int64Array, pairs: SimilarPairs, clock: _Clock, n_protected: int
) -> Int64Array:
    """Visit the samples, with the similar ones from cached pairs; return `duplicate_of`."""
    n = len(order)
    starts, neighbors = pairs.neighbors(n)
    visited_at = np.empty(n, np.int64)
    visited_at[order] = np.arange(n)
    retained, duplicate_of = np.zeros(n, bool), np.full(n, -1, np.int64)
    bounds = starts.tolist()
    for i, row in enumerate(order.tolist()):
        if i >= n_protected:
            near = neighbors[bounds[row] : bounds[row + 1]]
            near = near[retained[near]]
            original = int(near[visited_at[near].argmin()]) if len(near) else clock.find(row)
            if original >= 0:
                duplicate_of[row] = original
                continue
        retained[row] = True
        clock.add(row)
    return duplicate_of


def _by_products(
    embeddings: FloatArray, order: Int64Array, clock: _Clock, cosine: float, n_protected: int
) -> Int64Array:
    """Visit the samples in chunks, compared with retained ones; return `duplicate_of`."""
    duplicate_of = np.full(len(order), -1, np.int64)
    retained = np.empty(0, np.int64)
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        originals = _first_similar(embeddings, rows, retained, cosine)
        originals[: max(0, n_protected - start)] = -1
        similar = similar_pairs.compare(embeddings, rows, rows, cosine)
        new = _visit(similar, rows, originals, clock, n_protected - start)
        duplicate_of[rows] = originals
        retained = np.concatenate([retained, new])
    return duplicate_of


def _visit(
    similar: BoolArray, rows: Int64Array, originals: Int64Array, clock: _Clock, n_protected: int
) -> Int64Array:
    """Visit a chunk in order, complete `originals`, and return the retained rows."""
    retained = []
    for i, row in enumerate(rows.tolist()):
        if originals[i] < 0 and i >= n_protected:
            originals[i] = clock.find(row)
        if originals[i] >= 0:
            continue
        retained.append(row)
        clock.add(row)
        later = similar[i] & (originals < 0)
        later[: max(i + 1, n_protected)] = False
        originals[later] = row
    return np.array(retained, np.int64)


def _first_similar(
    embeddings: FloatArray, rows: Int64Array, retained: Int64Array, cosine: float
) -> Int64Array:
    """Return the first similar retained sample of each row, -1 without any."""
    originals = np.full(len(rows), -1, np.int64)
    for start in range(0, len(retained), CHUNK):
        block = retained[start : start + CHUNK]
        open_rows = np.flatnonzero(originals < 0)
        similar = similar_pairs.compare(embeddings, rows[open_rows], block, cosine)
        has_original = similar.any(axis=1)
        originals[open_rows[has_original]] = block[similar[has_original].argmax(axis=1)]
    return originals


def _cosines(embeddings: FloatArray, pairs: Int64Array) -> FloatArray:
    return np.einsum("pd,pd->p", embeddings[pairs[:, 0]], embeddings[pairs[:, 1]])
