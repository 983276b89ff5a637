from collections import OrderedDict

import pytest
import torch

from cascade.engine.overflow import in_range

FINE = torch.tensor([1.0, -3.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "nested",
    [
        lambda tensor: tensor,
        lambda tensor: tensor.half(),
        lambda tensor: {"a": FINE, "b": [FINE, (tensor,)]},
        lambda tensor: OrderedDict(a=None, b=tensor),
    ],
)
def test_nan_and_infinity_are_detected_at_any_depth(nested, bad):
    assert in_range(nested(FINE))
    assert not in_range(nested(torch.tensor([1.0, bad])))


def test_minus_infinity_integers_and_empty_outputs_are_in_range():
    assert in_range([torch.tensor([-torch.inf]), torch.tensor([1 << 40]), None, "a", {}])
    assert in_range(torch.zeros(0))
