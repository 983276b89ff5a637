"""Masks against boxes, held against a version that walks over every pixel."""

import numpy as np
import pytest

from cascade.errors import BadPredictionsError
from cascade.geometry import boxes, masks
from cascade.predictions import Masks

CLASSES = ("a traffic cone", "an orange cone", "a car")
MEANING = {"a traffic cone": "cone", "an orange cone": "cone", "a car": "vehicle"}


def masks_of(*drawings, class_ids=None):
    """Return masks as they are drawn, `#` inside."""
    maps = [[[c == "#" for c in row] for row in one.split()] for one in drawings]
    n = len(drawings)
    ids = np.zeros(n, np.int64) if class_ids is None else np.array(class_ids)
    return Masks(np.array(maps, bool), np.ones(n, np.float32), ids, CLASSES)


def random_masks(n=8, height=13, width=17, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.random((n, height, width)) < rng.uniform(0, 0.9, (n, 1, 1))
    maps[0] = False
    maps[1] = True
    maps[2, :, 5:] = False  # some have an extent of their own
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


# --- extents and areas -------------------------------------------------------------------------


def test_an_extent_reaches_from_outer_edge_to_outer_edge():
    found = masks.bounding_boxes(masks_of("....  .##.  .#..  ....", "#...  ....  ....  ...#"))
    assert found.tolist() == [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]]
    assert found.dtype == np.float32


def test_a_mask_without_pixels_has_no_extent():
    assert masks.bounding_boxes(masks_of("..  ..")).tolist() == [[0, 0, 0, 0]]


def test_extents_agree_with_a_walk_over_the_pixels():
    some = random_masks()
    height, width = some.masks.shape[1:]
    for found, region in zip(masks.bounding_boxes(some), some.masks, strict=True):
        y, x = np.nonzero(region)
        ends = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, 0, 0)
        assert found == pytest.approx(np.array(ends) / [width, height, width, height])


def test_an_area_is_a_share_of_the_image():
    assert masks.areas(masks_of("#...  #...", "####  ####", "....  ....")).tolist() == [0.25, 1, 0]


# --- masks and boxes ---------------------------------------------------------------------------


def test_a_mask_that_fills_its_box_overlaps_it_wholly():
    some = masks_of("....  .##.  .##.  ....", ".#..  .##.  ....  ....")
    found = masks.iou_with_boxes(some, np.float32([[0.25, 0.25, 0.75, 0.75], [0, 0, 0.25, 1]]))
    assert found == pytest.approx(np.array([[1.0, 0.0], [2 / 5, 0.0]]))


def test_overlaps_agree_with_a_walk_over_the_pixels():
    some, places = random_masks(), random_boxes()
    found = masks.iou_with_boxes(some, places)
    assert found.shape == (8, 20)
    for row, region in zip(found, some.masks, strict=True):
        for overlap, box in zip(row, places.astype(np.float64), strict=True):
            both = covered_slowly(region, box)
            union = region.mean() + area(box) - both
            assert overlap == pytest.approx(both / union if union else 0.0, abs=1e-6)
    assert (found > 0.1).sum() > 20


def test_a_filled_extent_overlaps_as_its_box_does():
    rng = np.random.default_rng(0)
    maps = np.zeros((5, 20, 30), bool)
    for one in maps:
        y, x = rng.integers(0, 10), rng.integers(0, 15)
        one[y : y + rng.integers(1, 10), x : x + rng.integers(1, 15)] = True
    some = Masks(maps, np.ones(5, np.float32), np.zeros(5, np.int64), CLASSES)
    expected = boxes.iou(masks.bounding_boxes(some), random_boxes())
    assert masks.iou_with_boxes(some, random_boxes()) == pytest.approx(expected, abs=1e-5)


# --- support -----------------------------------------------------------------------------------


def test_masks_support_a_box_together_and_count_once():
    some = masks_of("##..  ##..", ".##.  .##.")
    found = masks.support(some, np.float32([[0, 0, 1, 1], [0, 0, 0.5, 1], [0.75, 0, 1, 1]]))
    assert found.tolist() == [0.75, 1.0, 0.0]


def test_only_masks_of_its_class_support_a_box():
    some = masks_of("##..  ....", "..#.  ....", "####  ####", class_ids=[0, 1, 2])
    places = np.float32([[0, 0, 1, 1]] * 4)
    labels = ["cone", "vehicle", "worker", "cone"]
    meaning = MEANING | {one: one for one in labels}
    found = masks.support(some, places, labels, meaning=meaning.get)
    assert found.tolist() == [3 / 8, 1.0, 0.0, 3 / 8]


def test_what_means_nothing_supports_nothing():
    some = masks_of("####  ####", class_ids=[0])
    places = np.float32([[0, 0, 1, 1]])
    assert masks.support(some, places, ["a traffic cone"], meaning=lambda _: None).tolist() == [0]
    assert masks.support(some, places, ["A traffic-cone"]).tolist() == [1]  # case and hyphens


def test_support_agrees_with_a_walk_over_the_pixels():
    some, places = random_masks(), random_boxes()
    labels = [("cone", "vehicle", "worker")[i % 3] for i in range(len(places))]
    meaning = MEANING | {one: one for one in labels}
    found = masks.support(some, places, labels, meaning=meaning.get)
    for share, box, label in zip(found, places.astype(np.float64), labels, strict=True):
        union = np.zeros(some.masks.shape[1:], bool)
        for region, class_id in zip(some.masks, some.class_ids, strict=True):
            union |= region & (MEANING[CLASSES[class_id]] == label)
        expected = covered_slowly(union, box) / area(box) if area(box) else 0.0
        assert share == pytest.approx(expected, abs=1e-4)
    assert 0 < found.mean() < 1


def test_there_must_be_a_label_for_every_box():
    with pytest.raises(BadPredictionsError, match="each of the 2 boxes, got 1"):
        masks.support(masks_of("#"), np.zeros((2, 4), np.float32), ["cone"])


# --- nothing -----------------------------------------------------------------------------------


def test_no_masks_have_nothing():
    nothing, places = Masks.empty(CLASSES), random_boxes(3 + 1)
    assert masks.bounding_boxes(nothing).shape == (0, 4)
    assert masks.areas(nothing).shape == (0,)
    assert masks.iou_with_boxes(nothing, places).shape == (0, 4)
    assert masks.support(nothing, places).tolist() == [0] * 4
    assert masks.support(nothing, places, ["cone"] * 4).tolist() == [0] * 4


def test_no_boxes_have_nothing():
    nothing = np.zeros((0, 4), np.float32)
    assert masks.iou_with_boxes(random_masks(), nothing).shape == (8, 0)
    assert masks.support(random_masks(), nothing, []).shape == (0,)
