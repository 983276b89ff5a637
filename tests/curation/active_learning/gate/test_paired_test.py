"""The paired comparison, and Holm's procedure by hand."""

import numpy as np
import pytest

from cascade.metrics import classification
from curation.active_learning.gate.paired_test import compare, holm, swap_test

HOLM = [
    pytest.param([], [], id="nothing to test"),
    pytest.param([0.04], [(True, 0.05)], id="one test has the whole level"),
    pytest.param([0.03, 0.03], [(False, 0.025), (False, 0.05)], id="the least must pass first"),
    pytest.param([0.04, 0.02], [(True, 0.05), (True, 0.025)], id="the next has a wider limit"),
    pytest.param(
        [0.001, 0.03, 0.9], [(True, 0.05 / 3), (False, 0.025), (False, 0.05)], id="stops half way"
    ),
]


@pytest.mark.parametrize(("p", "expected"), HOLM)
def test_holm(p, expected):
    found = holm(p)
    assert [one[0] for one in found] == [one[0] for one in expected]
    assert [one[1] for one in found] == pytest.approx([one[1] for one in expected])


def some(n=200, seed=0, gain=0.4):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    a = truth ^ (rng.random(n) < 0.2)
    b = np.where(rng.random(n) < gain, truth, a)
    return truth, a, b, [f"{i // 4}" for i in range(n)]


def test_the_parts_fit_together():
    truth, a, b, drives = some()
    found = compare(truth, a, b, drives, draws=500, seed=0)
    assert (found.a, found.b) == (classification.mcc(truth, a), classification.mcc(truth, b))
    assert found.delta == pytest.approx(found.b - found.a)
    assert found.lower < found.delta < found.upper
    assert (found.n, found.groups) == (200, 50)
    assert found.differing == len({d for d, x, y in zip(drives, a, b, strict=True) if x != y})


def test_better_and_worse_are_mirrored():
    truth, a, b, drives = some()
    there = compare(truth, a, b, drives, draws=500, seed=0)
    back = compare(truth, b, a, drives, draws=500, seed=0)
    assert back.delta == pytest.approx(-there.delta)
    assert back.lower == pytest.approx(-there.upper)
    assert there.p_worse > 0.99
    assert back.p_worse < 0.01


def test_too_few_differing_drives_are_no_evidence_of_worse():
    truth, a, _, drives = some()
    b = a.copy()
    right = np.flatnonzero(a == truth)[:2]
    b[right] = ~b[right]
    assert compare(truth, a, b, drives, draws=500, seed=0).p_worse == 1.0


def test_swapping_by_hand():
    """Of four drives, b wins all: 1 of the 16 ways to swap does as well."""
    truth = np.array([True, False] * 4)
    a, b = ~truth, truth
    found = swap_test(truth, a, b, [f"{i // 2}" for i in range(8)], draws=20_000, seed=0)
    assert found == pytest.approx(1 / 16, abs=0.006)


def test_equal_answers_are_always_as_good():
    truth, a, _, drives = some()
    assert swap_test(truth, a, a, drives, draws=100, seed=0) == 1.0


def test_swapping_counts_drives_and_not_images():
    truth, a, b, drives = some(gain=0.4)
    alone = swap_test(truth, a, b, drives, draws=2000, seed=0)
    together = swap_test(truth, a, b, [f"{i // 100}" for i in range(200)], draws=2000, seed=0)
    assert alone < 0.01
    assert together == pytest.approx(0.25, abs=0.03), "two drives, of which both got better"


def test_of_equal_pairs_one_in_twenty_seems_better_however_few_the_drives():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(600):
        truth = rng.random(80) < 0.5
        a, b = (truth ^ (rng.random(80) < np.repeat(rng.random(8) / 2, 10)) for _ in range(2))
        drives = [f"{i // 10}" for i in range(80)]
        hits += swap_test(truth, a, b, drives, draws=300, seed=seed) <= 0.05
    assert 0.02 < hits / 600 < 0.07
