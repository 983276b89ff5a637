from dataclasses import replace

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.snapshot import LabeledImage, snapshot


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
