"""What a case may cost."""

import pytest

from cascade.adjudication.limits import BoundReachedError, Bounds, Budget


@pytest.mark.parametrize(
    ("given", "message"),
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
def test_bounds_within_which_nothing_can_happen_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Bounds(**given)


def test_not_to_recurse_is_a_bound_like_any_other():
    assert Bounds(depth=0).depth == 0


def test_what_is_not_there_cannot_be_spent():
    budget = Budget(3, 10)
    budget.spend(calls=3, characters=10)
    with pytest.raises(BoundReachedError, match="bound on calls") as told:
        budget.spend(calls=1)
    assert told.value.limit == "calls"
    with pytest.raises(BoundReachedError, match="bound on characters"):
        budget.spend(characters=1)
    assert (budget.calls, budget.characters) == (0, 0)


def test_shares_and_what_comes_back_add_up():
    budget = Budget(10, 103)
    first, second = budget.shares(2)
    assert (first.calls, second.calls, budget.calls) == (3, 3, 4)
    assert (first.characters, second.characters, budget.characters) == (34, 34, 35)
    first.spend(calls=2, characters=4)
    budget.take_back(first)
    budget.take_back(second)
    assert (budget.calls, budget.characters) == (8, 99)


def test_no_share_costs_nothing():
    budget = Budget(10, 100)
    assert budget.shares(0) == []
    assert (budget.calls, budget.characters) == (10, 100)
