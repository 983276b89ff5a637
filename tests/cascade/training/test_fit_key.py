from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade.predictions import Detections
from cascade.training.examples import Example
from cascade.training.fit_key import identity_of

WEIGHTS = {"a": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
BOX = Detections(np.array([[0, 0, 1, 1]], np.float32), np.ones(1), np.zeros(1, np.int64), ("cone",))
EXAMPLE = Example("a.jpg", BOX)
PARTS = (1, 2.5, None, "x", [EXAMPLE])

FILE = replace(EXAMPLE, image=Path("b.jpg"))

CHANGES = [
    pytest.param((2, 2.5, None, "x", [EXAMPLE]), WEIGHTS, id="a number"),
    pytest.param((1, 2.5, None, "x", [EXAMPLE] * 2), WEIGHTS, id="an additional example"),
    pytest.param((1, 2.5, None, "x", [FILE]), WEIGHTS, id="a file"),
    pytest.param(
        (1, 2.5, None, "x", [replace(EXAMPLE, target=replace(BOX, boxes_xyxy=BOX.boxes_xyxy / 2))]),
        WEIGHTS, id="a box",
    ),
    pytest.param(PARTS, {**WEIGHTS, "a": torch.tensor([1.0, 2.5])}, id="a weight"),
    pytest.param(PARTS, {"b": WEIGHTS["a"], "n": WEIGHTS["n"]}, id="a name"),
]  # fmt: skip


def test_equal_fits_have_equal_identities():
    copied = replace(EXAMPLE, target=replace(BOX, boxes_xyxy=BOX.boxes_xyxy.copy()))
    same = {name: tensor.clone() for name, tensor in WEIGHTS.items()}
    assert identity_of(PARTS, WEIGHTS) == identity_of((1, 2.5, None, "x", [copied]), same)


@pytest.mark.parametrize(("parts", "weights"), CHANGES)
def test_changed_fit_has_other_identity(parts, weights):
    assert identity_of(parts, weights) != identity_of(PARTS, WEIGHTS)


def test_unhashable_value_is_rejected():
    with pytest.raises(TypeError, match="Cannot hash a value of type set"):
        identity_of(({1},), {})
