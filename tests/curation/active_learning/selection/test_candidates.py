"""Candidates: number and arm of each kind."""

import numpy as np
import pytest

from curation.active_learning.selection.candidates import SelectionState, propose_candidates
from curation.active_learning.selection.pool import Pool


def state(n=1000, size=20, *, hardness="known", wanted=None, drawn=(), left=None):
    rng = np.random.default_rng(0)
    values = {"known": rng.permutation(n) / n, "none": None, "unknown": np.full(n, np.nan)}
    z = np.zeros((n, 2), np.float32)
    z[:, 0] = 1
    pool = Pool(
        embeddings=z,
        hardness=values[hardness],
        drives=[None] * n,
        times_s=np.full(n, np.nan),
        expected_boxes=np.ones(n),
        strata={"night": np.arange(n) < n // 20, "rain": np.arange(n) >= n - 5},
    )
    left = np.setdiff1d(np.arange(n), drawn) if left is None else np.asarray(left, int)
    return SelectionState(pool, z[:0], size, wanted or {}, np.asarray(drawn, int), left)


def propose_from(example):
    return propose_candidates(example, np.random.default_rng(1))


def test_hardest_candidates_come_first():
    example = state()
    candidates = propose_from(example)
    assert candidates.arms[:80] == ["hard"] * 80
    assert candidates.rows[:80].tolist() == np.argsort(-example.pool.hardness)[:80].tolist()
    assert set(candidates.arms[80:]) == {"coverage"}
    assert 0 < len(candidates.rows) - 80 <= 10


def test_candidates_are_distinct_and_left():
    left = np.arange(0, 1000, 3)
    candidates = propose_from(state(wanted={"night": 8.0, "rain": 4.0}, left=left))
    assert len(set(candidates.rows)) == len(candidates.rows) == len(candidates.arms)
    assert set(candidates.rows) <= set(left)


def test_slices_share_half_a_batch_by_missing_samples():
    # 10 candidates for 6 and 4 missing; the random arm brought two of the eight at night.
    example = state(wanted={"night": 8.0, "rain": 4.0}, drawn=[0, 1])
    assert example.drawn_counts().tolist() == [2, 0]
    candidates = propose_from(example)
    by_slice = [
        row for row, arm in zip(candidates.rows, candidates.arms, strict=True) if arm == "slice"
    ]
    assert sum(row < 50 for row in by_slice) <= 6
    assert sum(row >= 995 for row in by_slice) <= 4
    assert len(by_slice) >= 6
    assert all(row < 50 or row >= 995 for row in by_slice)


def test_filled_quota_adds_no_candidates():
    candidates = propose_from(state(wanted={"night": 2.0}, drawn=[0, 1, 2]))
    assert "slice" not in candidates.arms


@pytest.mark.parametrize("n", [30, 5000])
def test_round_zero_draws_random_candidates(n):
    candidates = propose_from(state(n, hardness="none"))
    assert set(candidates.arms) == {"coverage"}
    assert len(candidates.rows) == min(n, 2010)


def test_unknown_hardness_draws_random_candidates():
    candidates = propose_from(state(100, 60, hardness="unknown"))
    assert set(candidates.arms) == {"coverage"}
    assert len(candidates.rows) == 60


def test_easier_half_is_not_hard():
    example = state(40, 20)
    candidates = propose_from(example)
    hard = [row for row, arm in zip(candidates.rows, candidates.arms, strict=True) if arm == "hard"]
    assert len(hard) == 20
    assert example.pool.hardness[hard].min() >= 0.5


def test_no_rows_left():
    candidates = propose_from(state(left=[]))
    assert (len(candidates.rows), candidates.arms) == (0, [])
