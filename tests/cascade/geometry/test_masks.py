"""Bounding boxes and support of masks, compared with a pixel-by-pixel reference."""

import numpy as np
import pytest

from cascade.errors import BadPredictionsError
from cascade.geometry import masks
from cascade.predictions import Masks

CLASSES = ("a traffic cone", "an orange cone", "a car")
MEANING = {"a traffic cone": "cone", "an orange cone": "cone", "a car": "vehicle"}


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


def random_boxes(n=20, seed=1):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (n, 2, 2)), axis=1).reshape(n, 4)
    corners[0] = [0, 0, 1, 1]
    corners[1] = [0.3, 0.4, 0.3, 0.9]  # no width
    corners[2] = [2 / 17, 3 / 13, 9 / 17, 8 / 13]  # on the grid
    corners[3] = [0.51, 0.52, 0.511, 0.521]  # within a pixel
    return corners.astype(np.float32)


def covered_slowly(region, box):
    """Return the area of a region's pixels within a box, as a share of the image."""
    height, width = region.shape
    total = 0.0
    for y, x in zip(*np.nonzero(region), strict=True):
        w = min(box[2], (x + 1) / width) - max(box[0], x / width)
        h = min(box[3], (y + 1) / height) - max(box[1], y / height)
        total += max(w, 0.0) * max(h, 0.0)
    return total


def area(box):
    return float(box[2] - box[0]) * float(box[3] - box[1])


# --- bounding boxes ----------------------------------------------------------------------------


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


# --- support -----------------------------------------------------------------------------------


def test_support_is_the_union_of_masks():
    some = masks_of("##..  ##..", ".##.  .##.")
    shares = masks.support(some, np.float32([[0, 0, 1, 1], [0, 0, 0.5, 1], [0.75, 0, 1, 1]]))
    assert shares.tolist() == [0.75, 1.0, 0.0]


def test_support_by_masks_of_the_class_only():
    some = masks_of("##..  ....", "..#.  ....", "####  ####", class_ids=[0, 1, 2])
    places = np.float32([[0, 0, 1, 1]] * 4)
    labels = ["cone", "vehicle", "worker", "cone"]
    meaning = MEANING | {label: label for label in labels}
    shares = masks.support(some, places, labels, meaning=meaning.get)
    assert shares.tolist() == [3 / 8, 1.0, 0.0, 3 / 8]


def test_support_without_meaning_is_zero():
    some = masks_of("####  ####", class_ids=[0])
    places = np.float32([[0, 0, 1, 1]])
    assert masks.support(some, places, ["a traffic cone"], meaning=lambda _: None).tolist() == [0]
    assert masks.support(some, places, ["A traffic-cone"]).tolist() == [1]  # case and hyphens


def test_support_equals_a_pixel_loop():
    some, places = random_masks(), random_boxes()
    labels = [("cone", "vehicle", "worker")[i % 3] for i in range(len(places))]
    meaning = MEANING | {label: label for label in labels}
    shares = masks.support(some, places, labels, meaning=meaning.get)
    for share, box, label in zip(shares, places.astype(np.float64), labels, strict=True):
        union = np.zeros(some.masks.shape[1:], bool)
        for region, class_id in zip(some.masks, some.class_ids, strict=True):
            union |= region & (MEANING[CLASSES[class_id]] == label)
        expected = covered_slowly(union, box) / area(box) if area(box) else 0.0
        assert share == pytest.approx(expected, abs=1e-4)
    assert 0 < shares.mean() < 1


def test_support_with_missing_labels_raises():
    with pytest.raises(BadPredictionsError, match="2 names, one per box, got 1"):
        masks.support(masks_of("#"), np.zeros((2, 4), np.float32), ["cone"])


# --- empty -------------------------------------------------------------------------------------


def test_no_masks():
    empty, places = Masks.empty(CLASSES), random_boxes(4)
    assert masks.bounding_boxes(empty).shape == (0, 4)
    assert masks.support(empty, places).tolist() == [0] * 4
    assert masks.support(empty, places, ["cone"] * 4).tolist() == [0] * 4


def test_no_boxes():
    assert masks.support(random_masks(), np.zeros((0, 4), np.float32), []).shape == (0,)
