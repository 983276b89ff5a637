from dataclasses import replace

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.active_learning.training.snapshot import (
    LabeledImage,
    differences,
    digest,
    lines,
    snapshot,
)


def boxes(*rows):
    return Detections(
        boxes_xyxy=np.array(rows, float).reshape(-1, 4),
        scores=np.ones(len(rows), np.float32),
        class_ids=np.zeros(len(rows), np.int64),
        classes=("cone",),
    )


A, B = (0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.75, 1.0)
ONE = LabeledImage(content="abc", split="train", truth=boxes(A, B))
TWO = LabeledImage(content="def", split="val", truth=boxes())

SAME = [
    pytest.param([TWO, ONE], id="images in another order"),
    pytest.param([replace(ONE, truth=boxes(B, A)), TWO], id="boxes in another order"),
    pytest.param([replace(ONE, truth=boxes(A, np.add(B, 1e-9))), TWO], id="less than a pixel"),
]
OTHER = [
    pytest.param([ONE], id="an image less"),
    pytest.param([replace(ONE, content="x"), TWO], id="other pixels"),
    pytest.param([replace(ONE, split="test"), TWO], id="another split"),
    pytest.param([replace(ONE, truth=boxes(A)), TWO], id="a box less"),
    pytest.param([replace(ONE, truth=boxes(A, np.add(B, -1e-3))), TWO], id="a moved box"),
    pytest.param([ONE, ONE, TWO], id="an image twice"),
]


@pytest.mark.parametrize("images", SAME)
def test_the_hash_is_the_same(images):
    assert snapshot(images) == snapshot([ONE, TWO])


@pytest.mark.parametrize("images", OTHER)
def test_the_hash_is_another(images):
    assert snapshot(images) != snapshot([ONE, TWO])


def test_the_hash_is_of_the_lines():
    assert digest(lines([ONE, TWO])) == snapshot([TWO, ONE])


@pytest.mark.parametrize("images", SAME)
def test_the_same_images_do_not_differ(images):
    found = differences(lines([ONE, TWO]), lines(images))
    assert (found.added, found.removed, found.moved, found.relabeled) == ((), (), (), ())


DIFFERENT = [
    pytest.param([ONE], "removed", ("def",), id="an image less"),
    pytest.param([ONE, TWO, replace(TWO, content="x")], "added", ("x",), id="an image more"),
    pytest.param([ONE, ONE, TWO], "added", ("abc",), id="an image twice"),
    pytest.param([replace(ONE, split="test"), TWO], "moved", ("abc",), id="another split"),
    pytest.param([replace(ONE, truth=boxes(A)), TWO], "relabeled", ("abc",), id="a box less"),
]


@pytest.mark.parametrize(("images", "where", "expected"), DIFFERENT)
def test_what_differs_is_named(images, where, expected):
    found = differences(lines([ONE, TWO]), lines(images))
    names = ("added", "removed", "moved", "relabeled")
    assert {name: getattr(found, name) for name in names} == {
        name: expected if name == where else () for name in names
    }
