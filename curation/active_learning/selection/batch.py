"""Choice of the next batch to label, with a reason for each sample.

1. `random`: drawn first, uniformly over the complete pool, so that its labels are an unbiased
   sample of the pool.
2. Near-duplicates are dropped, including those of the random arm (`near_duplicates`).
3. Candidates: the 4B hardest, B/2 drawn from slices under quota, B/2 drawn from all
   (`candidates`).
4. Greedy uncertainty coverage picks among the candidates (`coverage`).

The arm of a pick is the reason why it was a candidate: `hard` among the hardest, `slice` only by
a quota, or else `coverage`. Round 0 has no hardness: random candidates replace the hardest, all
points have the same worth, and no sample is `hard`.

A quota is a preference: it at most doubles the gain of a candidate. `advice` names quotas that
were not met.

N is the size of the pool, B of the batch, D the length of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cascade.arrays import FloatArray, Int64Array
from cascade.errors import nearest
from curation.active_learning.selection import coverage, near_duplicates
from curation.active_learning.selection.candidates import (
    Candidates,
    SelectionState,
    propose_candidates,
)
from curation.active_learning.selection.pool import Pool, require_unit_length
from curation.errors import SelectionError
from curation.storage.tags import Arm

RANDOM_SHARE = 0.15
_MAX_POINTS = 50_000  # pool points in the sum of the coverage
_MAX_GAP_KERNELS = 10**10  # kernel values of the exact sum: two minutes
_MIN_POOL_RATIO = (
    5  # samples of the pool per sample of the batch; with fewer, choosing hardly helps
)
_UNKNOWN_WORTH = 0.5  # worth of a sample without hardness: the middle of the ranks


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch in the order of labeling.

    The random arm is spread evenly over the order, so a partly labeled batch has about the same
    share of it.

    Attributes:
        index: Rows of the pool, shape (B,).
        arm: Arm of each sample.
        because: Reason for each sample, a sentence with numbers.
        dropped: Rows of the pool that were dropped as near-duplicates.
        duplicate_of: Row of the pool that each of these resembles.
        gap: Relative error of the coverage that was summed over a sample of the pool; 0 for an
            exact sum, None if the exact sum is too costly.
        advice: Advice before labeling.
    """

    index: Int64Array
    arm: tuple[Arm, ...]
    because: tuple[str, ...]
    dropped: Int64Array
    duplicate_of: Int64Array
    gap: float | None
    advice: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.index)


def choose(
    pool: Pool,
    labeled: FloatArray,
    budget: int,
    *,
    quotas: Mapping[str, float] | None = None,
    random_share: float = RANDOM_SHARE,
    duplicate_cosine: float = near_duplicates.COSINE,
    within_s: float = near_duplicates.WITHIN_S,
    max_points: int = _MAX_POINTS,
    seed: int,
    cover: coverage.CoverFactory | None = None,
) -> Batch:
    """Return the next batch. Deterministic.

    Args:
        pool: The unlabeled samples.
        labeled: Unit embeddings of the labeled samples, shape (L, D).
        budget: Size of the batch; a smaller one, with advice, if too few samples are left.
        quotas: Wanted share of the batch by slice of `pool.strata`, in (0, 1].
        random_share: Share of the random arm; 0.1 to 0.2 is sensible.
        duplicate_cosine: Lowest cosine of near-duplicates.
        within_s: Near-duplicates in a drive are closer than this.
        max_points: Number of pool points in the sum of the coverage.
        seed: Random seed.
        cover: Does the arithmetic of the coverage; NumPy by default.

    Raises:
        SelectionError: The budget is negative, a share is out of range, or a quota names an
            unknown slice.
    """
    wanted = _wanted_counts(pool, labeled, budget, quotas or {}, random_share)
    if len(pool) == 0:
        return _empty_batch()
    rng = np.random.default_rng(seed)
    size = min(budget, len(pool))
    drawn = rng.choice(len(pool), int(size * random_share + 0.5), replace=False)
    others = pool.hardest_first(np.setdiff1d(np.arange(len(pool)), drawn))
    deduplicated = near_duplicates.deduplicate(
        pool.embeddings,
        np.concatenate([drawn, others]),
        drives=pool.drives,
        times_s=pool.times_s,
        within_s=within_s,
        cosine=duplicate_cosine,
        n_protected=len(drawn),
        pairs=pool.similar_pairs,
    )
    left = np.setdiff1d(deduplicated.rows, drawn)
    state = SelectionState(pool, labeled, size, wanted, drawn, left)
    candidates = propose_candidates(state, rng)
    picks, gap = _pick(state, candidates, max_points, rng, cover)
    index, arm, because = _interleave(
        (drawn, ["random"] * len(drawn), [_reason_for_drawn(state)] * len(drawn)),
        (
            candidates.rows[picks.order],
            [candidates.arms[i] for i in picks.order],
            _reasons_for_picks(state, candidates, picks),
        ),
    )
    dropped = deduplicated.dropped
    return Batch(
        index=index,
        arm=arm,
        because=because,
        dropped=dropped,
        duplicate_of=deduplicated.duplicate_of[dropped],
        gap=gap,
        advice=_advice(state, index, budget, len(dropped)),
    )


def _empty_batch() -> Batch:
    none = np.empty(0, np.int64)
    return Batch(
        index=none,
        arm=(),
        because=(),
        dropped=none,
        duplicate_of=none,
        gap=0.0,
        advice=("The pool is empty: it has no unlabeled samples to choose.",),
    )


def _wanted_counts(
    pool: Pool, labeled: FloatArray, budget: int, quotas: Mapping[str, float], random_share: float
) -> dict[str, float]:
    """Validate the arguments and return the number of wanted samples by slice."""
    if budget < 0:
        raise SelectionError(f"budget must not be negative, got {budget}.")
    if not 0.0 <= random_share <= 1.0:
        raise SelectionError(f"random_share must be in [0, 1], got {random_share}.")
    dimensions = pool.embeddings.shape[1]
    if len(labeled) and len(pool) and labeled.shape[1:] != (dimensions,):
        raise SelectionError(
            f"labeled must have shape (L, {dimensions}) like the pool's "
            f"embeddings, got {labeled.shape}. Embed both with one member."
        )
    if len(labeled):
        require_unit_length("labeled samples", labeled)
    for name, share in quotas.items():
        if name not in pool.strata:
            raise SelectionError(f"No slice is named {name!r}. {nearest(name, pool.strata)}")
        if not 0.0 < share <= 1.0:
            raise SelectionError(f"The quota of {name!r} must be in (0, 1], got {share}.")
    return {name: share * min(budget, len(pool)) for name, share in quotas.items()}


def _pick(
    state: SelectionState,
    candidates: Candidates,
    max_points: int,
    rng: np.random.Generator,
    cover: coverage.CoverFactory | None,
) -> tuple[coverage.Picks, float | None]:
    """Pick among the candidates, and return the relative error of the sampled coverage."""
    z, rows = state.pool.embeddings, candidates.rows
    labeled = state.labeled.reshape(-1, z.shape[1]).astype(z.dtype, copy=False)
    covering = np.concatenate([labeled, z[state.drawn]])
    sample = np.sort(rng.permutation(state.left)[:max_points])
    sigma = coverage.bandwidth(labeled, z[sample], rng)
    points, worth = _points(state, rows, max_points, rng)
    quota = coverage.Quota(
        membership=state.membership(rows),
        wanted=np.array(list(state.wanted.values())),
        present=state.drawn_counts(),
    )
    problem = coverage.Problem(z[rows], z[points], worth, covering, sigma)
    # An image costs 1 unit, as does each box.
    scale = (1.0 + np.nan_to_num(state.pool.expected_boxes[rows])) ** -0.5
    picks = coverage.pick_greedily(
        problem,
        state.size - len(state.drawn),
        scale=scale,
        quota=quota if state.wanted else None,
        cover=cover,
    )
    return picks, _gap(state, replace(problem, candidates=z[rows[picks.order]]), cover)


def _points(
    state: SelectionState, rows: Int64Array, max_points: int, rng: np.random.Generator
) -> tuple[Int64Array, FloatArray]:
    """Return the pool points to cover, and their worth.

    For a large pool, these are all candidates, and a uniform sample that represents all other
    points. (A candidate covers itself best, and would gain by being in the sample.)
    """
    if len(state.left) <= max_points:
        return state.left, _worth(state.pool, state.left)
    others = np.setdiff1d(state.left, rows)
    number = min(max(max_points - len(rows), max_points // 2), len(others))
    sample = np.sort(rng.choice(others, number, replace=False))
    worth = np.concatenate(
        [_worth(state.pool, rows), _worth(state.pool, sample) * len(others) / max(number, 1)]
    )
    return np.concatenate([rows, sample]), worth


def _gap(
    state: SelectionState, sampled: coverage.Problem, cover: coverage.CoverFactory | None
) -> float | None:
    """Return |sampled sum - exact sum| / exact sum of the coverage by the picks."""
    z, left = state.pool.embeddings, state.left
    if len(sampled.points) == len(left):
        return 0.0
    if len(left) * (len(sampled.covering) + len(sampled.candidates)) > _MAX_GAP_KERNELS:
        return None
    exact = replace(sampled, points=z[left], worth=_worth(state.pool, left))
    make_cover = cover or coverage.NumpyCover
    exact_gain, sampled_gain = (make_cover(problem).total_gain() for problem in (exact, sampled))
    return abs(sampled_gain - exact_gain) / exact_gain if exact_gain > 0 else 0.0


def _worth(pool: Pool, rows: Int64Array) -> FloatArray:
    if pool.hardness is None:
        return np.ones(len(rows))
    return np.nan_to_num(pool.hardness[rows], nan=_UNKNOWN_WORTH)


def _interleave(
    *parts: tuple[Int64Array, list[Arm], list[str]],
) -> tuple[Int64Array, tuple[Arm, ...], tuple[str, ...]]:
    """Merge the parts, each spread evenly and in its own order."""
    position = np.concatenate(
        [(np.arange(len(rows)) + 0.5) / max(len(rows), 1) for rows, *_ in parts]
    )
    order = np.argsort(position, kind="stable")
    all_arms = [arm for _, arms, _ in parts for arm in arms]
    all_reasons = [reason for *_, reasons in parts for reason in reasons]
    return (
        np.concatenate([rows for rows, *_ in parts])[order],
        tuple(all_arms[i] for i in order),
        tuple(all_reasons[i] for i in order),
    )


def _reason_for_drawn(state: SelectionState) -> str:
    return f"Drawn uniformly from all {len(state.pool)} samples of the pool."


def _reasons_for_picks(
    state: SelectionState, candidates: Candidates, picks: coverage.Picks
) -> list[str]:
    """Return a sentence for each pick: the reason for its arm, and its nearest sample."""
    reasons = []
    hardness = np.sort([] if state.pool.hardness is None else state.pool.hardness)  # NaN last
    ranked = hardness[np.isfinite(hardness)]
    for i, cosine in zip(picks.order, picks.nearest, strict=True):
        row, arm = candidates.rows[i], candidates.arms[i]
        reason = "Stands for what no labeled sample shows yet."
        if arm == "hard":
            reason = _rank_sentence(state.pool, row, ranked)
        elif arm == "slice":
            slices = [
                f"{name} ({count:.0f} wanted)"
                for name, count in state.wanted.items()
                if state.pool.strata[name][row]
            ]
            reason = f"Brought in by the quota of {', '.join(slices)}."
        nearest_sample = "Nothing was labeled or chosen before it."
        if np.isfinite(cosine):
            nearest_sample = f"The nearest labeled or chosen sample has cosine {cosine:.2f}."
        reasons.append(f"{reason} {nearest_sample}")
    return reasons


def _rank_sentence(pool: Pool, row: int, ranked: FloatArray) -> str:
    """Return the hardness of a row and its rank among the finite values, which are ascending."""
    value = float("nan") if pool.hardness is None else float(pool.hardness[row])
    rank = 1 + len(ranked) - int(np.searchsorted(ranked, value, side="right"))
    return f"Hardness {value:.2f}, number {rank} of {len(pool)}."


def _advice(
    state: SelectionState, index: Int64Array, budget: int, n_dropped: int
) -> tuple[str, ...]:
    """Return advice before labeling."""
    n, advice = len(state.pool), []
    if budget > 0 and n / budget < _MIN_POOL_RATIO:
        advice.append(
            f"The pool holds {n / budget:.1f} samples for each one to choose. Below "
            f"{_MIN_POOL_RATIO}, choosing can hardly do better than drawing at random."
        )
    if len(index) < budget:
        advice.append(
            f"Only {len(index)} of {budget} samples could be chosen: the pool holds {n}, "
            f"of which {n_dropped} are near-duplicates of others."
        )
    for name, wanted in state.wanted.items():
        mask = state.pool.strata[name]
        chosen = int(mask[index].sum())
        if chosen < int(wanted):
            advice.append(
                f"{name}: {chosen} of {wanted:.0f} wanted samples are chosen; the pool holds "
                f"{int(mask.sum())}."
            )
    return tuple(advice)
