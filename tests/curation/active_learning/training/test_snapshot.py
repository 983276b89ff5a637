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
FIRST = LabeledImage(content="abc", split="train", truth=boxes(A, B))
SECOND = LabeledImage(content="def", split="val", truth=boxes())

SAME = [
    pytest.param([SECOND, FIRST], id="images in another order"),
    pytest.param([replace(FIRST, truth=boxes(B, A)), SECOND], id="boxes in another order"),
    pytest.param([replace(FIRST, truth=boxes(A, np.add(B, 1e-9))), SECOND], id="less than a pixel"),
]
OTHER = [
    pytest.param([FIRST], id="an image less"),
    pytest.param([replace(FIRST, content="x"), SECOND], id="other pixels"),
    pytest.param([replace(FIRST, split="test"), SECOND], id="another split"),
    pytest.param([replace(FIRST, truth=boxes(A)), SECOND], id="a box less"),
    pytest.param([replace(FIRST, truth=boxes(A, np.add(B, -1e-3))), SECOND], id="a moved box"),
    pytest.param([FIRST, FIRST, SECOND], id="an image twice"),
]


@pytest.mark.parametrize("images", SAME)
def test_equivalent_images_have_equal_hashes(images):
    assert snapshot(images) == snapshot([FIRST, SECOND])


@pytest.mark.parametrize("images", OTHER)
def test_changed_images_have_other_hash(images):
    assert snapshot(images) != snapshot([FIRST, SECOND])


def test_snapshot_is_digest_of_lines():
    assert digest(lines([FIRST, SECOND])) == snapshot([SECOND, FIRST])


@pytest.mark.parametrize("images", SAME)
def test_equivalent_images_have_no_differences(images):
    result = differences(lines([FIRST, SECOND]), lines(images))
    assert (result.added, result.removed, result.moved, result.relabeled) == ((), (), (), ())


DIFFERENT = [
    pytest.param([FIRST], "removed", ("def",), id="an image less"),
    pytest.param(
        [FIRST, SECOND, replace(SECOND, content="x")], "added", ("x",), id="an image more"
    ),
    pytest.param([FIRST, FIRST, SECOND], "added", ("abc",), id="an image twice"),
    pytest.param([replace(FIRST, split="test"), SECOND], "moved", ("abc",), id="another split"),
    pytest.param([replace(FIRST, truth=boxes(A)), SECOND], "relabeled", ("abc",), id="a box less"),
]


@pytest.mark.parametrize(("images", "changed", "expected"), DIFFERENT)
def test_differences_are_reported_by_kind(images, changed, expected):
    result = differences(lines([FIRST, SECOND]), lines(images))
    names = ("added", "removed", "moved", "relabeled")
    assert {name: getattr(result, name) for name in names} == {
        name: expected if name == changed else () for name in names
    }
