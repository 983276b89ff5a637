"""Which samples to label next, and why each of them.

1. `random`: drawn first, uniformly over the whole pool, so that what is learned from this arm
   holds for the pool.
2. Near-duplicates are dropped, also those of the random arm's picks (`duplicates`).
3. Candidates: the 4B hardest, B/2 drawn from slices under quota, B/2 drawn from all.
4. Greedy uncertainty coverage picks among the candidates (`coverage`).

The arm of a pick is why it was a candidate: `hard` when among the hardest; `slice` when only
a quota brought it in; else `coverage`. Round 0 knows no hardness: candidates are drawn at
random in place of the hardest, every point is worth the same, and nothing is `hard`.

A quota is a preference: it up to doubles the gain of what it asks for, and no more. `advice`
says which quotas were not met.

N is the size of the pool, B of the batch, D the length of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade.arrays import FloatArray, Int64Array
from cascade.errors import nearest
from curation.active_learning.selection import coverage, near_duplicates
from curation.active_learning.selection.candidates import Candidates, State, propose
from curation.active_learning.selection.pool import Pool, expect_unit
from curation.errors import SelectionError
from curation.storage.tags import Arm

RANDOM_SHARE = 0.15
_POINTS = 50_000  # most pool points that the coverage is summed over
_GAP_KERNELS = 10**10  # most kernel values that the exact sum may cost: two minutes
_FEW = 5  # samples of the pool for one of the batch: below, choosing can hardly help
_UNKNOWN = 0.5  # worth of a sample without hardness: the middle of the ranks


@dataclass(frozen=True, eq=False)
class Chosen:
    """A batch in the order in which it should be labeled.

    The random arm is spread evenly over that order, so that a batch which is labeled in part
    still holds about its share.

    Attributes:
        index: Rows of the pool, shape (B,).
        arm: Why each is in the batch: one of `Arm`.
        because: The same as a sentence, in numbers.
        dropped: Rows of the pool that were dropped as near-duplicates.
        duplicate_of: The row of the pool that each of these resembles.
        gap: How far the coverage that was summed over a sample of the pool is off the exact
            sum, relative to it; 0 when the sum was exact, None when the check is too costly.
        advice: What a person should know before anything is labeled.
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
    most_points: int = _POINTS,
    seed: int,
    cover: coverage.CoverFactory | None = None,
) -> Chosen:
    """Return the next batch; the same for the same arguments.

    Args:
        pool: The unlabeled samples.
        labeled: Embeddings of the labeled samples, shape (L, D), scaled to length 1.
        budget: Samples to choose; fewer come back when fewer are left, and `advice` says so.
        quotas: Share of the batch that a slice of `pool.strata` should have, in (0, 1].
        random_share: Share of the batch that is drawn uniformly; 0.1 to 0.2 is sensible.
        duplicate_cosine: Two samples whose embeddings agree so much are near-duplicates.
        within_s: Two samples of a drive less apart than that are near-duplicates.
        most_points: Pool points that the coverage is summed over, where the pool holds more.
        seed: Of every draw.
        cover: Does the arithmetic of the coverage; numpy where None.

    Raises:
        SelectionError: The budget is negative, a share is out of range, or a quota names a
            slice that the pool does not have.
    """
    wanted = _wanted(pool, labeled, budget, quotas or {}, random_share)
    if len(pool) == 0:
        return _nothing()
    rng = np.random.default_rng(seed)
    size = min(budget, len(pool))
    drawn = rng.choice(len(pool), int(size * random_share + 0.5), replace=False)
    kept = near_duplicates.deduplicate(
        pool.embeddings,
        _visit_order(pool, drawn),
        drives=pool.drives,
        times_s=pool.times_s,
        within_s=within_s,
        cosine=duplicate_cosine,
        always=len(drawn),
        known=pool.similar_pairs,
    )
    state = State(pool, labeled, size, wanted, drawn, np.setdiff1d(kept.rows, drawn))
    candidates = propose(state, rng)
    herd, gap = _cover(state, candidates, most_points, rng, cover)
    index, arm, because = _in_order(
        (drawn, ["random"] * len(drawn), [_because_drawn(state)] * len(drawn)),
        (
            candidates.rows[herd.order],
            [candidates.arms[i] for i in herd.order],
            _because_picked(state, candidates, herd),
        ),
    )
    return Chosen(
        index=index,
        arm=arm,
        because=because,
        dropped=kept.dropped,
        duplicate_of=kept.duplicate_of[kept.dropped],
        gap=gap,
        advice=_advice(state, index, budget, len(kept.dropped)),
    )


def _nothing() -> Chosen:
    return Chosen(
        index=np.empty(0, np.int64),
        arm=(),
        because=(),
        dropped=np.empty(0, np.int64),
        duplicate_of=np.empty(0, np.int64),
        gap=0.0,
        advice=("The pool is empty: there is no unlabeled sample to choose.",),
    )


def _wanted(
    pool: Pool, labeled: FloatArray, budget: int, quotas: Mapping[str, float], random_share: float
) -> dict[str, float]:
    """Return how many samples of each slice are wanted, once the arguments make sense."""
    if budget < 0:
        raise SelectionError(f"budget must not be negative, got {budget}.")
    if not 0.0 <= random_share <= 1.0:
        raise SelectionError(f"random_share must lie in [0, 1], got {random_share}.")
    dimensions = pool.embeddings.shape[1]
    if len(labeled) and len(pool) and labeled.shape[1:] != (dimensions,):
        raise SelectionError(
            f"labeled must have shape (L, {dimensions}) like the pool's "
            f"embeddings, got {labeled.shape}. Embed both with one member."
        )
    if len(labeled):
        expect_unit("labeled samples", labeled)
    for name, share in quotas.items():
        if name not in pool.strata:
            raise SelectionError(f"No slice is named {name!r}. {nearest(name, pool.strata)}")
        if not 0.0 < share <= 1.0:
            raise SelectionError(f"The quota of {name!r} must lie in (0, 1], got {share}.")
    return {name: share * min(budget, len(pool)) for name, share in quotas.items()}


def _visit_order(pool: Pool, drawn: Int64Array) -> Int64Array:
    """Return the rows in the order in which duplicates are judged: drawn, then hardest first."""
    rest = pool.hardest_first(np.setdiff1d(np.arange(len(pool)), drawn))
    return np.concatenate([drawn, rest])


def _cover(
    state: State,
    candidates: Candidates,
    most_points: int,
    rng: np.random.Generator,
    cover: coverage.CoverFactory | None,
) -> tuple[coverage.Picks, float | None]:
    """Pick among the candidates, and return how far the sampled sum is off the exact one."""
    z, rows = state.pool.embeddings, candidates.rows
    labeled = state.labeled.reshape(-1, z.shape[1]).astype(z.dtype, copy=False)
    taken = np.concatenate([labeled, z[state.drawn]])
    some = np.sort(rng.permutation(state.left)[:most_points])
    sigma = coverage.bandwidth(labeled, z[some], rng)
    points, worth = _points(state, rows, most_points, rng)
    herd = coverage.pick_greedily(
        z[rows],
        z[points],
        worth,
        budget=state.size - len(state.drawn),
        sigma=sigma,
        taken=taken,
        scale=(1.0 + np.nan_to_num(state.pool.expected_boxes[rows])) ** -0.5,  # 1: the look at it
        quota=_quota(state, rows),
        cover=cover,
    )
    how: dict[str, Any] = {"taken": taken, "sigma": sigma, "cover": cover}
    return herd, _gap(state, points, worth, rows[herd.order], how)


def _points(
    state: State, rows: Int64Array, most_points: int, rng: np.random.Generator
) -> tuple[Int64Array, FloatArray]:
    """Return the pool points to cover, and what each is worth.

    Of a large pool these are all candidates, and a uniform sample of the others that counts
    for all others: a candidate covers itself best, and would gain by being in the sample.
    """
    if len(state.left) <= most_points:
        return state.left, _worth(state.pool, state.left)
    others = np.setdiff1d(state.left, rows)
    number = min(max(most_points - len(rows), most_points // 2), len(others))
    some = np.sort(rng.choice(others, number, replace=False))
    worth = np.concatenate(
        [_worth(state.pool, rows), _worth(state.pool, some) * len(others) / max(number, 1)]
    )
    return np.concatenate([rows, some]), worth


def _quota(state: State, rows: Int64Array) -> coverage.Quota | None:
    if not state.wanted:
        return None
    wanted = np.array(list(state.wanted.values()))
    return coverage.Quota(belongs=state.belongs(rows), wanted=wanted, have=state.have())


def _gap(
    state: State, points: Int64Array, worth: FloatArray, picked: Int64Array, how: dict[str, Any]
) -> float | None:
    """Return |sampled sum - exact sum| / exact sum of what the picks cover."""
    if len(points) == len(state.left):
        return 0.0
    if len(state.left) * (len(how["taken"]) + len(picked)) > _GAP_KERNELS:
        return None
    z = state.pool.embeddings
    exact = coverage.covered(z[state.left], _worth(state.pool, state.left), chosen=z[picked], **how)
    sampled = coverage.covered(z[points], worth, chosen=z[picked], **how)
    return abs(sampled - exact) / exact if exact > 0 else 0.0


def _worth(pool: Pool, rows: Int64Array) -> FloatArray:
    if pool.hardness is None:
        return np.ones(len(rows))
    return np.nan_to_num(pool.hardness[rows], nan=_UNKNOWN)


def _in_order(
    *parts: tuple[Int64Array, list[Arm], list[str]],
) -> tuple[Int64Array, tuple[Arm, ...], tuple[str, ...]]:
    """Merge the parts so that each is spread evenly over the whole, its own order kept."""
    when = np.concatenate([(np.arange(len(rows)) + 0.5) / max(len(rows), 1) for rows, *_ in parts])
    order = np.argsort(when, kind="stable")
    arms = [arm for _, of_part, _ in parts for arm in of_part]
    sentences = [sentence for *_, of_part in parts for sentence in of_part]
    return (
        np.concatenate([rows for rows, *_ in parts])[order],
        tuple(arms[i] for i in order),
        tuple(sentences[i] for i in order),
    )


def _because_drawn(state: State) -> str:
    return f"Drawn uniformly from all {len(state.pool)} samples of the pool."


def _because_picked(state: State, candidates: Candidates, herd: coverage.Picks) -> list[str]:
    """Return a sentence on each pick: what made it a candidate, and how new it is."""
    sentences = []
    ordered = np.sort([] if state.pool.hardness is None else state.pool.hardness)  # NaN last
    known = ordered[np.isfinite(ordered)]
    for i, cosine in zip(herd.order, herd.nearest, strict=True):
        row, arm = candidates.rows[i], candidates.arms[i]
        why = "Stands for what no labeled sample shows yet."
        if arm == "hard":
            why = _place(state.pool, row, known)
        elif arm == "slice":
            slices = [
                f"{n} ({w:.0f} wanted)"
                for n, w in state.wanted.items()
                if state.pool.strata[n][row]
            ]
            why = f"Brought in by the quota of {', '.join(slices)}."
        near = "Nothing was labeled or chosen before it."
        if np.isfinite(cosine):
            near = f"The nearest labeled or chosen sample has cosine {cosine:.2f}."
        sentences.append(f"{why} {near}")
    return sentences


def _place(pool: Pool, row: int, ordered: FloatArray) -> str:
    """Return the place of a row in the ranking, whose finite values are given, ascending."""
    value = float("nan") if pool.hardness is None else float(pool.hardness[row])
    place = 1 + len(ordered) - int(np.searchsorted(ordered, value, side="right"))
    return f"Hardness {value:.2f}, number {place} of {len(pool)}."


def _advice(state: State, index: Int64Array, budget: int, dropped: int) -> tuple[str, ...]:
    """Return what a person should know before anything is labeled."""
    n, advice = len(state.pool), []
    if budget > 0 and n / budget < _FEW:
        advice.append(
            f"The pool holds {n / budget:.1f} samples for each one to choose. Below {_FEW}, "
            "choosing can hardly do better than drawing at random."
        )
    if len(index) < budget:
        advice.append(
            f"Only {len(index)} of {budget} samples could be chosen: the pool holds {n}, "
            f"of which {dropped} are near-duplicates of others."
        )
    for name, wanted in state.wanted.items():
        have = int(state.pool.strata[name][index].sum())
        if have < int(wanted):
            there = int(state.pool.strata[name].sum())
            advice.append(
                f"{name}: {have} of {wanted:.0f} wanted samples are chosen; the pool holds {there}."
            )
    return tuple(advice)
