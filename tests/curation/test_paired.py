"""The paired comparison, and Holm's procedure by hand."""

import numpy as np
import pytest

from cascade import metrics
from curation.paired import compare, holm

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
    assert (found.a, found.b) == (metrics.mcc(truth, a), metrics.mcc(truth, b))
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
