"""Bounding boxes of masks, by hand and against a pixel loop."""

import numpy as np
import pytest

from cascade.geometry import masks
from cascade.predictions import Masks

CLASSES = ("a traffic cone", "an orange cone", "a car")


def masks_of(*drawings, class_ids=None):
    """Return masks from drawings, `#` inside."""
    maps = [[[c == "#" for c in row] for row in drawing.split()] for drawing in drawings]
    n = len(drawings)
    ids = np.zeros(n, np.int64) if class_ids is None else np.array(class_ids)
    return Masks(np.array(maps, bool), np.ones(n, np.float32), ids, CLASSES)


def random_masks(n=8, height=13, width=17, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.random((n, height, width)) < rng.uniform(0, 0.9, (n, 1, 1))
    maps[0] = False
    maps[1] = True
    maps[2, :, 5:] = False
    maps[3, :4] = maps[3, 9:] = False
    return Masks(maps, np.ones(n, np.float32), rng.integers(0, 3, n), CLASSES)


def test_bounding_box_extends_to_the_outer_edges():
    extents = masks.bounding_boxes(masks_of("....  .##.  .#..  ....", "#...  ....  ....  ...#"))
    assert extents.tolist() == [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]]
    assert extents.dtype == np.float32


def test_bounding_box_of_an_empty_mask():
    assert masks.bounding_boxes(masks_of("..  ..")).tolist() == [[0, 0, 0, 0]]


def test_bounding_boxes_equal_a_pixel_loop():
    some = random_masks()
    height, width = some.masks.shape[1:]
    for box, region in zip(masks.bounding_boxes(some), some.masks, strict=True):
        y, x = np.nonzero(region)
        ends = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, 0, 0)
        assert box == pytest.approx(np.array(ends) / [width, height, width, height])


def test_no_masks():
    assert masks.bounding_boxes(Masks.empty(CLASSES)).shape == (0, 4)
