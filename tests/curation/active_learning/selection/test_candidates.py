"""Candidates: how many of each kind, and why each is one."""

import numpy as np
import pytest

from curation.active_learning.selection.candidates import State, propose
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
    return State(pool, z[:0], size, wanted or {}, np.asarray(drawn, int), left)


def propose_for(some):
    return propose(some, np.random.default_rng(1))


def test_hardest_come_first_and_are_four_for_each_of_the_batch():
    some = state()
    found = propose_for(some)
    assert found.arms[:80] == ["hard"] * 80
    assert found.rows[:80].tolist() == np.argsort(-some.pool.hardness)[:80].tolist()
    assert set(found.arms[80:]) == {"coverage"}
    assert 0 < len(found.rows) - 80 <= 10


def test_no_sample_twice_and_none_that_is_gone():
    left = np.arange(0, 1000, 3)
    found = propose_for(state(wanted={"night": 8.0, "rain": 4.0}, left=left))
    assert len(set(found.rows)) == len(found.rows) == len(found.arms)
    assert set(found.rows) <= set(left)


def test_slices_get_half_a_batch_by_what_they_miss():
    # 10 candidates for 6 and 4 missing; the random arm brought two of the eight at night.
    some = state(wanted={"night": 8.0, "rain": 4.0}, drawn=[0, 1])
    assert some.have().tolist() == [2, 0]
    found = propose_for(some)
    by_slice = [row for row, arm in zip(found.rows, found.arms, strict=True) if arm == "slice"]
    assert sum(row < 50 for row in by_slice) <= 6
    assert sum(row >= 995 for row in by_slice) <= 4
    assert len(by_slice) >= 6
    assert all(row < 50 or row >= 995 for row in by_slice)


def test_a_filled_quota_asks_for_nothing():
    found = propose_for(state(wanted={"night": 2.0}, drawn=[0, 1, 2]))
    assert "slice" not in found.arms


@pytest.mark.parametrize("n", [30, 5000])
def test_round_zero_draws_more_and_nothing_is_hard(n):
    found = propose_for(state(n, hardness="none"))
    assert set(found.arms) == {"coverage"}
    assert len(found.rows) == min(n, 2010)


def test_unknown_hardness_is_filled_up_at_random():
    found = propose_for(state(100, 60, hardness="unknown"))
    assert set(found.arms) == {"coverage"}
    assert len(found.rows) == 60


def test_the_easier_half_is_not_hard():
    some = state(40, 20)
    found = propose_for(some)
    hard = [row for row, arm in zip(found.rows, found.arms, strict=True) if arm == "hard"]
    assert len(hard) == 20
    assert some.pool.hardness[hard].min() >= 0.5


def test_nothing_left():
    found = propose_for(state(left=[]))
    assert (len(found.rows), found.arms) == (0, [])
