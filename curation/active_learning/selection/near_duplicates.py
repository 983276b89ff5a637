"""Near-duplicates: frames that show what another, harder one shows.

Two samples are near-duplicates when they are of one drive and less than a second apart, or
when the cosine of their embeddings reaches a threshold. Samples are visited from the hardest
to the easiest, and each is dropped when a kept one is its near-duplicate. So every dropped
sample names a kept one that it really resembles, and no two kept ones resemble each other.
Joining pairs into groups would not do: frames half a second apart chain up, and of a whole
drive a single frame would be left.

Time grows with N x kept samples (one matrix product), or, where the pairs that look alike are
known, with their number; both give the same. Memory grows with N. N is the number of samples, D
the length of an embedding, P and Q of pairs.
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
COSINE = 0.975  # between .97 and .98, where DINO's near-duplicates begin; see `calibrate_cosine`
_EPSILON_S = 1e-6  # frames at 30 Hz are 0.99999... s apart after 30


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of N samples.

    Attributes:
        kept: Which are left, shape (N,), bool.
        duplicate_of: The kept sample that each dropped one resembles, shape (N,), int64: the
            first visited of those that look like it, else the closest in time; -1 for the kept
            ones.
    """

    kept: BoolArray
    duplicate_of: Int64Array

    @property
    def rows(self) -> Int64Array:
        """The rows that are left, ascending."""
        return np.flatnonzero(self.kept)

    @property
    def dropped(self) -> Int64Array:
        """The rows that were dropped, ascending."""
        return np.flatnonzero(~self.kept)


@dataclass(frozen=True)
class Threshold:
    """A cosine from which two samples count as near-duplicates.

    Attributes:
        cosine: The threshold, reached counts.
        recall: Share of the known duplicates that it finds, in [0, 1].
        false_rate: Share of the known different pairs that it takes for duplicates.
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
    always: int = 0,
    known: SimilarPairs | None = None,
) -> Kept:
    """Return which samples are left when near-duplicates are dropped.

    Args:
        embeddings: Scaled to length 1, shape (N, D), float32.
        order: The rows in the order of visit, hardest first, shape (N,).
        drives: The drive of each sample; None where it has none.
        times_s: Seconds within the drive, shape (N,); NaN where unknown.
        within_s: Two samples of a drive that are less apart are near-duplicates.
        cosine: Two samples whose embeddings agree so much are near-duplicates.
        always: The first so many of `order` are kept, whatever they resemble.
        known: All pairs that look alike; those of another threshold are of no use here.
    """
    clock = _Clock(drives, times_s, within_s)
    if known is not None and known.cosine == cosine:
        duplicate_of = _by_pairs(order, known, clock, always)
    else:
        duplicate_of = _by_products(embeddings, order, clock, cosine, always)
    return Kept(kept=duplicate_of < 0, duplicate_of=duplicate_of)


def calibrate_cosine(
    embeddings: FloatArray,
    duplicates: Int64Array,
    different: Int64Array,
    *,
    false_rate: float = 0.01,
) -> Threshold:
    """Return the least threshold that takes few different pairs for duplicates.

    It lies halfway between the last cosine that is too low and the next duplicate above.

    Args:
        embeddings: Scaled to length 1, shape (N, D).
        duplicates: Rows of known near-duplicates, shape (P, 2), such as augmented copies.
        different: Rows of pairs that are known to differ, shape (Q, 2), such as of two drives.
        false_rate: The share of `different` that may be taken for duplicates: each such pair
            may cost a sample that was worth labeling.

    Raises:
        SelectionError: There are no pairs of one kind.
    """
    if not len(duplicates) or not len(different):
        raise SelectionError(
            "calibrate_cosine needs known duplicates and known different pairs, "
            f"got {len(duplicates)} and {len(different)}."
        )
    same, other = _cosines(embeddings, duplicates), _cosines(embeddings, different)
    too_low = np.sort(other)[::-1][min(int(false_rate * len(other)), len(other) - 1)]
    above = same[same > too_low]
    next_one = above.min() if len(above) else 1.0
    cosine = float(max((too_low + next_one) / 2, np.nextafter(too_low, 2.0)))
    return Threshold(
        cosine=cosine,
        recall=float((same >= cosine).mean()),
        false_rate=float((other >= cosine).mean()),
    )


class _Clock:
    """Remembers when kept samples were taken, and finds one that is less than `within_s` off."""

    def __init__(self, drives: Sequence[str | None], times_s: FloatArray, within_s: float) -> None:
        self._drives, self._times_s = drives, times_s
        self._within_s = within_s - _EPSILON_S
        self._seen: dict[tuple[str, int], list[int]] = {}

    def find(self, row: int) -> int:
        """Return a kept sample of the same drive and moment, -1 without any."""
        where = self._where(row)
        if where is None:
            return -1
        drive, slot = where
        near = [r for s in (slot - 1, slot, slot + 1) for r in self._seen.get((drive, s), ())]
        apart = [abs(float(self._times_s[row] - self._times_s[r])) for r in near]
        closest = int(np.argmin(apart)) if apart else -1
        return near[closest] if apart and apart[closest] < self._within_s else -1

    def add(self, row: int) -> None:
        """Remember a sample that is kept."""
        where = self._where(row)
        if where is not None:
            self._seen.setdefault(where, []).append(row)

    def _where(self, row: int) -> tuple[str, int] | None:
        drive, time_s = self._drives[row], float(self._times_s[row])
        if drive is None or not np.isfinite(time_s) or self._within_s <= 0:
            return None
        return drive, int(time_s // self._within_s)


def _by_pairs(order: Int64Array, known: SimilarPairs, clock: _Clock, always: int) -> Int64Array:
    """Visit all samples, and look up what each resembles; return `duplicate_of`."""
    n = len(order)
    begins, neighbours = known.neighbours(n)
    visited_at = np.empty(n, np.int64)
    visited_at[order] = np.arange(n)
    kept, twin = np.zeros(n, bool), np.full(n, -1, np.int64)
    bounds = begins.tolist()
    for i, row in enumerate(order.tolist()):
        if i >= always:
            near = neighbours[bounds[row] : bounds[row + 1]]
            near = near[kept[near]]
            found = int(near[visited_at[near].argmin()]) if len(near) else clock.find(row)
            if found >= 0:
                twin[row] = found
                continue
        kept[row] = True
        clock.add(row)
    return twin


def _by_products(
    embeddings: FloatArray, order: Int64Array, clock: _Clock, cosine: float, always: int
) -> Int64Array:
    """Compare every sample with the kept ones, chunk by chunk; return `duplicate_of`."""
    duplicate_of = np.full(len(order), -1, np.int64)
    kept_rows = np.empty(0, np.int64)
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        twin = _first_alike(embeddings, rows, kept_rows, cosine)
        twin[: max(0, always - start)] = -1
        close = similar_pairs.compare(embeddings, rows, rows, cosine)
        kept = _visit(close, rows, twin, clock, always - start)
        duplicate_of[rows] = twin
        kept_rows = np.concatenate([kept_rows, kept])
    return duplicate_of


def _visit(
    close: BoolArray, rows: Int64Array, twin: Int64Array, clock: _Clock, always: int
) -> Int64Array:
    """Visit one chunk in order, write into `twin` what resembles whom, return the kept rows."""
    kept = []
    for i, row in enumerate(rows.tolist()):
        if twin[i] < 0 and i >= always:
            twin[i] = clock.find(row)
        if twin[i] >= 0:
            continue
        kept.append(row)
        clock.add(row)
        later = close[i] & (twin < 0)
        later[: max(i + 1, always)] = False
        twin[later] = row
    return np.array(kept, np.int64)


def _first_alike(
    embeddings: FloatArray, rows: Int64Array, kept: Int64Array, cosine: float
) -> Int64Array:
    """Return for each row the first kept sample that looks like it, -1 where none does."""
    twin = np.full(len(rows), -1, np.int64)
    for start in range(0, len(kept), CHUNK):
        block = kept[start : start + CHUNK]
        open_rows = np.flatnonzero(twin < 0)
        close = similar_pairs.compare(embeddings, rows[open_rows], block, cosine)
        found = close.any(axis=1)
        twin[open_rows[found]] = block[close[found].argmax(axis=1)]
    return twin


def _cosines(embeddings: FloatArray, pairs: Int64Array) -> FloatArray:
    return np.einsum("pd,pd->p", embeddings[pairs[:, 0]], embeddings[pairs[:, 1]])
