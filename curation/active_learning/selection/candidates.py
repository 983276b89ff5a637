"""Candidates for a batch.

Candidates are the hardest samples, some from slices under quota, and some from the whole pool.
Greedy coverage picks among them. B is the size of the batch, G the number of slices with a quota.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array
from curation.active_learning.selection.pool import Pool
from curation.storage.tags import Arm

_HARDEST = 4  # candidates from the top of the ranking, per sample of the batch
_MIN_ROUND_ZERO = 2_000  # random candidates of round 0, so that coverage has a choice


@dataclass(frozen=True, eq=False)
class SelectionState:
    """State after the random arm and deduplication.

    Attributes:
        pool: The pool.
        labeled: Embeddings of the labeled samples, shape (L, D).
        size: Size of the batch: the budget, or the size of a smaller pool.
        wanted: Number of wanted samples by slice.
        drawn: Rows of the random arm.
        left: Rows for greedy coverage, ascending.
    """

    pool: Pool
    labeled: FloatArray
    size: int
    wanted: dict[str, float]
    drawn: Int64Array
    left: Int64Array

    def drawn_counts(self) -> Int64Array:
        """Return the number of samples in the random arm from each slice with a quota."""
        counts = [int(self.pool.strata[name][self.drawn].sum()) for name in self.wanted]
        return np.array(counts, np.int64)

    def membership(self, rows: Int64Array) -> BoolArray:
        """Return the masks of the slices with a quota for some rows, shape (G, len(rows))."""
        masks = [self.pool.strata[name][rows] for name in self.wanted]
        return np.array(masks, bool).reshape(len(self.wanted), len(rows))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates for greedy coverage.

    Attributes:
        rows: Rows of the pool, shape (A,), the hardest first, so they win ties.
        arms: Arm of each candidate, the first that applies of `hard`, `coverage` and `slice`.
    """

    rows: Int64Array
    arms: list[Arm]


def propose_candidates(state: SelectionState, rng: np.random.Generator) -> Candidates:
    """Return the 4B hardest rows, B/2 drawn from all, and B/2 drawn from slices under quota.

    At most the harder half of the pool is `hard`. In round 0 without hardness, 4B more rows are
    drawn from all instead, at least `_MIN_ROUND_ZERO`. If there are fewer candidates than the
    batch needs, more are drawn from all.
    """
    half, hard = -(-state.size // 2), _hardest(state)
    number = half
    if state.pool.hardness is None:
        number += max(_HARDEST * state.size, _MIN_ROUND_ZERO)
    shuffled = rng.permutation(state.left)
    by_quota = _from_slices(state, half, rng)
    distinct = np.unique(np.concatenate([hard, shuffled[:number], by_quota]))
    shortage = state.size - len(state.drawn) - len(distinct)
    more = shuffled[~np.isin(shuffled, distinct)][: max(shortage, 0)]
    at_random = np.concatenate([shuffled[:number], more])
    rows = np.array(list(dict.fromkeys([*hard, *at_random, *by_quota])), np.int64)
    arms = np.select(
        [np.isin(rows, hard), np.isin(rows, at_random)], ["hard", "coverage"], default="slice"
    )
    return Candidates(rows, arms.tolist())


def _hardest(state: SelectionState) -> Int64Array:
    """Return the 4B hardest rows, at most the harder half of those with a hardness."""
    if state.pool.hardness is None:
        return state.left[:0]
    ranked = state.left[np.isfinite(state.pool.hardness[state.left])]
    most = min(_HARDEST * state.size, -(-len(ranked) // 2))
    return state.pool.hardest_first(ranked)[:most]


def _from_slices(state: SelectionState, number: int, rng: np.random.Generator) -> Int64Array:
    """Return about `number` rows of slices under quota, in proportion to the missing samples."""
    missing = np.maximum(np.array(list(state.wanted.values())) - state.drawn_counts(), 0.0)
    drawn = [state.left[:0]]
    for mask, gap in zip(state.membership(state.left), missing, strict=True):
        share = int(np.ceil(number * gap / missing.sum())) if gap > 0 else 0
        rows = state.left[mask]
        drawn.append(rng.choice(rows, min(share, len(rows)), replace=False))
    return np.concatenate(drawn)
