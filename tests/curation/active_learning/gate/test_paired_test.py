"""Paired comparison, swap test, and Holm's procedure on small examples."""

import numpy as np
import pytest

from cascade.metrics import classification
from curation.active_learning.gate.paired_test import compare, holm, swap_test

HOLM = [
    pytest.param([], [], id="no test"),
    pytest.param([0.04], [(True, 0.05)], id="single test uses the full level"),
    pytest.param([0.03, 0.03], [(False, 0.025), (False, 0.05)], id="lowest p must pass first"),
    pytest.param([0.04, 0.02], [(True, 0.05), (True, 0.025)], id="next test has a wider limit"),
    pytest.param(
        [0.001, 0.03, 0.9],
        [(True, 0.05 / 3), (False, 0.025), (False, 0.05)],
        id="stops at the first failure",
    ),
]


@pytest.mark.parametrize(("p", "expected"), HOLM)
def test_holm(p, expected):
    result = holm(p)
    assert [row[0] for row in result] == [row[0] for row in expected]
    assert [row[1] for row in result] == pytest.approx([row[1] for row in expected])


def example(n=200, seed=0, gain=0.4):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    a = truth ^ (rng.random(n) < 0.2)
    b = np.where(rng.random(n) < gain, truth, a)
    return truth, a, b, [f"{i // 4}" for i in range(n)]


def test_comparison_is_consistent():
    truth, a, b, drives = example()
    result = compare(truth, a, b, drives, draws=500, seed=0)
    assert (result.a, result.b) == (classification.mcc(truth, a), classification.mcc(truth, b))
    assert result.delta == pytest.approx(result.b - result.a)
    assert result.lower < result.delta < result.upper
    assert (result.n, result.groups) == (200, 50)
    assert result.differing == len({d for d, x, y in zip(drives, a, b, strict=True) if x != y})


def test_swapping_ensembles_mirrors_comparison():
    truth, a, b, drives = example()
    forward = compare(truth, a, b, drives, draws=500, seed=0)
    backward = compare(truth, b, a, drives, draws=500, seed=0)
    assert backward.delta == pytest.approx(-forward.delta)
    assert backward.lower == pytest.approx(-forward.upper)
    assert forward.p_worse > 0.99
    assert backward.p_worse < 0.01


def test_few_differing_drives_are_not_evidence_of_worse():
    truth, a, _, drives = example()
    b = a.copy()
    right = np.flatnonzero(a == truth)[:2]
    b[right] = ~b[right]
    assert compare(truth, a, b, drives, draws=500, seed=0).p_worse == 1.0


def test_swap_test_on_four_drives():
    """b wins all four drives: 1 of the 16 ways to swap does as well."""
    truth = np.array([True, False] * 4)
    a, b = ~truth, truth
    result = swap_test(truth, a, b, [f"{i // 2}" for i in range(8)], draws=20_000, seed=0)
    assert result == pytest.approx(1 / 16, abs=0.006)


def test_swap_test_of_equal_answers_is_one():
    truth, a, _, drives = example()
    assert swap_test(truth, a, a, drives, draws=100, seed=0) == 1.0


def test_swap_test_counts_drives():
    truth, a, b, drives = example(gain=0.4)
    p_many = swap_test(truth, a, b, drives, draws=2000, seed=0)
    p_two = swap_test(truth, a, b, [f"{i // 100}" for i in range(200)], draws=2000, seed=0)
    assert p_many < 0.01
    assert p_two == pytest.approx(0.25, abs=0.03), "two drives, both better"


def test_swap_test_keeps_its_level_with_few_drives():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(600):
        truth = rng.random(80) < 0.5
        a, b = (truth ^ (rng.random(80) < np.repeat(rng.random(8) / 2, 10)) for _ in range(2))
        drives = [f"{i // 10}" for i in range(80)]
        hits += swap_test(truth, a, b, drives, draws=300, seed=seed) <= 0.05
    assert 0.02 < hits / 600 < 0.07
