"""Limits and budget of a case."""

import pytest

from cascade.adjudication.limits import BoundReachedError, Bounds, Budget


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"turns": 0}, "turns must be above 0"),
        ({"calls": -1}, "calls must be above 0"),
        ({"characters": 0}, "characters must be above 0"),
        ({"wall_s": 0.0}, "wall_s must be above 0"),
        ({"wall_s": float("nan")}, "wall_s must be above 0"),
        ({"depth": -1}, "depth must be 0 or above"),
        ({"epsilon": 0.5}, "epsilon must be below"),
    ],
)
def test_bounds_that_allow_nothing_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        Bounds(**options)


def test_depth_zero_is_valid():
    assert Bounds(depth=0).depth == 0


def test_overspending_raises_and_keeps_budget():
    budget = Budget(3, 10)
    budget.spend(calls=3, characters=10)
    with pytest.raises(BoundReachedError, match="bound on calls") as caught:
        budget.spend(calls=1)
    assert caught.value.limit == "calls"
    with pytest.raises(BoundReachedError, match="bound on characters"):
        budget.spend(characters=1)
    assert (budget.calls, budget.characters) == (0, 0)


def test_shares_and_remainders_add_up():
    budget = Budget(10, 103)
    first, second = budget.shares(2)
    assert (first.calls, second.calls, budget.calls) == (3, 3, 4)
    assert (first.characters, second.characters, budget.characters) == (34, 34, 35)
    first.spend(calls=2, characters=4)
    budget.take_back(first)
    budget.take_back(second)
    assert (budget.calls, budget.characters) == (8, 99)


def test_zero_shares_cost_nothing():
    budget = Budget(10, 100)
    assert budget.shares(0) == []
    assert (budget.calls, budget.characters) == (10, 100)
