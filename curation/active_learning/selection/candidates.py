"""Which samples of the pool are candidates for the batch, and why.

Candidates are the hardest, some drawn from slices under quota, and some drawn from all: greedy
coverage looks at these alone. B is the size of the batch, G the number of slices with a quota.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.arrays import BoolArray, FloatArray, Int64Array
from curation.active_learning.selection.pool import Pool
from curation.storage.tags import Arm

_HARDEST = 4  # candidates from the top of the ranking, per sample of the batch
_ROUND_ZERO = 2_000  # candidates at least while nothing is known: coverage needs a choice


@dataclass(frozen=True, eq=False)
class State:
    """What is settled once the random arm is drawn and near-duplicates are gone."""

    pool: Pool
    labeled: FloatArray
    size: int  # of the batch: the budget, or the whole pool where that is smaller
    wanted: dict[str, float]  # samples of each slice
    drawn: Int64Array  # the random arm
    left: Int64Array  # rows of the pool that greedy coverage may pick, ascending

    def have(self) -> Int64Array:
        """Return how many of each slice with a quota the random arm brought."""
        counts = [int(self.pool.strata[name][self.drawn].sum()) for name in self.wanted]
        return np.array(counts, np.int64)

    def belongs(self, rows: Int64Array) -> BoolArray:
        """Return which row belongs to which slice with a quota, shape (G, len(rows))."""
        masks = [self.pool.strata[name][rows] for name in self.wanted]
        return np.array(masks, bool).reshape(len(self.wanted), len(rows))


@dataclass(frozen=True, eq=False)
class Candidates:
    """What greedy coverage may pick.

    Attributes:
        rows: Of the pool, shape (A,); the hardest first, so that they win ties.
        arms: Why each is here, the strongest reason: `hard`, then `coverage`, then `slice`.
    """

    rows: Int64Array
    arms: list[Arm]


def propose(state: State, rng: np.random.Generator) -> Candidates:
    """Return the 4B hardest, B/2 drawn from all, and B/2 drawn from slices under quota.

    The easier half of the pool is never `hard`, however small the pool is. In round 0 nothing
    is: 4B more are drawn from all, and at least `_ROUND_ZERO`. Where all of these are fewer
    than the batch needs, more are drawn.
    """
    half, hard = -(-state.size // 2), _hardest(state)
    number = half
    if state.pool.hardness is None:
        number += max(_HARDEST * state.size, _ROUND_ZERO)
    shuffled = rng.permutation(state.left)
    by_quota = _from_slices(state, half, rng)
    found = np.unique(np.concatenate([hard, shuffled[:number], by_quota]))
    lack = state.size - len(state.drawn) - len(found)
    more = shuffled[~np.isin(shuffled, found)][: max(lack, 0)]
    at_random = np.concatenate([shuffled[:number], more])
    rows = np.array(list(dict.fromkeys([*hard, *at_random, *by_quota])), np.int64)
    arms = np.select(
        [np.isin(rows, hard), np.isin(rows, at_random)], ["hard", "coverage"], default="slice"
    )
    return Candidates(rows, arms.tolist())


def _hardest(state: State) -> Int64Array:
    """Return the 4B hardest rows, at most the harder half of those with a hardness."""
    if state.pool.hardness is None:
        return state.left[:0]
    known = state.left[np.isfinite(state.pool.hardness[state.left])]
    most = min(_HARDEST * state.size, -(-len(known) // 2))
    return state.pool.hardest_first(known)[:most]


def _from_slices(state: State, number: int, rng: np.random.Generator) -> Int64Array:
    """Return about `number` rows of the slices under quota, more where more are missing."""
    missing = np.maximum(np.array(list(state.wanted.values())) - state.have(), 0.0)
    found = [state.left[:0]]
    for mask, gap in zip(state.belongs(state.left), missing, strict=True):
        share = int(np.ceil(number * gap / missing.sum())) if gap > 0 else 0
        found.append(_some(state.left[mask], share, rng))
    return np.concatenate(found)


def _some(rows: Int64Array, number: int, rng: np.random.Generator) -> Int64Array:
    return rng.choice(rows, min(number, len(rows)), replace=False)
