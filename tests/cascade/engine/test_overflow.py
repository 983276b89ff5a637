from collections import OrderedDict

import pytest
import torch

from cascade.engine.overflow import in_range

FINE = torch.tensor([1.0, -3.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "nested",
    [
        lambda one: one,
        lambda one: one.half(),
        lambda one: {"a": FINE, "b": [FINE, (one,)]},
        lambda one: OrderedDict(a=None, b=one),
    ],
)
def test_nan_and_infinity_are_found_however_they_are_nested(nested, bad):
    assert in_range(nested(FINE))
    assert not in_range(nested(torch.tensor([1.0, bad])))


def test_minus_infinity_whole_numbers_and_nothing_are_in_range():
    assert in_range([torch.tensor([-torch.inf]), torch.tensor([1 << 40]), None, "a", {}])
    assert in_range(torch.zeros(0))
