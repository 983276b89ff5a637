"""The pinhole check: by hand, with round numbers."""

import numpy as np
import pytest

from cascade import taxonomy
from cascade.errors import BadPredictionsError
from cascade.geometry import distances_m, measure
from cascade.predictions import DepthMap

ROADWORK = taxonomy.load("roadwork")
NAN = float("nan")


def measured(box, label, distance_m):
    """An image of 1000 by 2000 pixels, focal length 1000 pixels."""
    return measure(
        np.array([box]),
        [label],
        np.array([distance_m]),
        size_px=(1000, 2000),
        focal_px=1000.0,
        taxonomy=ROADWORK,
    )


def test_size_by_hand():
    """100 px high and 60 px wide at 10 m with a focal length of 1000 px: 1.0 m by 0.6 m."""
    sizes = measured([0.5, 0.5, 0.53, 0.6], "drum", 10.0)
    assert sizes.height_m == pytest.approx([1.0])
    assert sizes.width_m == pytest.approx([0.6])
    assert sizes.distance_m.tolist() == [10.0]
    assert sizes.plausible.tolist() == [True]


PLAUSIBLE = [  # a box 100 px high and 30 px wide: 0.1 m by 0.03 m for each metre of distance
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 7.0, True, id="0.70 m by 0.21 m: a cone"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 2.0, False, id="0.20 m: too small for a cone"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 12.0, False, id="1.20 m: too large for a cone"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 6.0, False, id="0.60 m by 0.18 m: too narrow"),
    pytest.param([0.5, 0.5, 0.55, 0.6], "cone", 7.0, False, id="0.70 m by 0.70 m: too wide"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", NAN, True, id="no depth: nothing to flag"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "tree", 2.0, True, id="no such class: nothing to flag"),
    pytest.param([0.5, 0.9, 0.515, 1.0], "cone", 7.0, True, id="a cone at the lower border"),
    pytest.param([0.5, 0.97, 0.52, 1.0], "cone", 7.0, True, id="cut off below: may be too low"),
    pytest.param([0.5, 0.8, 0.515, 1.0], "cone", 7.0, False, id="cut off, and yet too high"),
    pytest.param([0.0, 0.5, 0.01, 0.6], "cone", 7.0, True, id="cut off left: may be too narrow"),
    pytest.param([0.0, 0.5, 0.01, 0.52], "cone", 7.0, False, id="cut off left, but too low"),
]


@pytest.mark.parametrize(("box", "label", "distance_m", "expected"), PLAUSIBLE)
def test_plausible(box, label, distance_m, expected):
    assert measured(box, label, distance_m).plausible.tolist() == [expected]


def test_a_class_without_ranges_is_never_implausible():
    plain = taxonomy.from_labels("plain", ["cone"], ["cone"])
    sizes = measure(
        np.array([[0.1, 0.1, 0.2, 0.9]]),
        ["cone"],
        np.array([100.0]),
        size_px=(100, 100),
        focal_px=10.0,
        taxonomy=plain,
    )
    assert sizes.plausible.tolist() == [True]


def test_no_boxes():
    sizes = measure(
        np.zeros((0, 4)), [], np.zeros(0), size_px=(10, 10), focal_px=1.0, taxonomy=ROADWORK
    )
    assert sizes.plausible.shape == sizes.height_m.shape == (0,)


@pytest.mark.parametrize("focal_px", [0.0, -1.0, NAN])
def test_a_camera_without_a_focal_length_is_refused(focal_px):
    with pytest.raises(BadPredictionsError, match="focal_px must be above 0"):
        measure(
            np.zeros((0, 4)),
            [],
            np.zeros(0),
            size_px=(10, 10),
            focal_px=focal_px,
            taxonomy=ROADWORK,
        )


def test_different_numbers_of_boxes_are_refused():
    with pytest.raises(BadPredictionsError, match="the same boxes, got 0, 1 and 0"):
        measure(
            np.zeros((0, 4)),
            ["cone"],
            np.zeros(0),
            size_px=(10, 10),
            focal_px=1.0,
            taxonomy=ROADWORK,
        )


def depth_of(rows, unit="metres"):
    return DepthMap(depth=np.array(rows, np.float32), unit=unit)


SQUARE = [[9, 9, 9, 9], [9, 2, 3, 9], [9, 4, 5, 9], [9, 9, 9, 9]]

DISTANCES = [
    pytest.param(SQUARE, [0, 0, 1, 1], 3.5, id="the median of the inner half: 2, 3, 4, 5"),
    pytest.param(SQUARE, [0.3, 0.3, 0.4, 0.4], 2.0, id="a box within one pixel of the map"),
    pytest.param(SQUARE, [1, 1, 1, 1], 9.0, id="a point at the far corner"),
    pytest.param([[NAN, 4.0], [NAN, NAN]], [0, 0, 1, 1], 4.0, id="the sky does not count"),
    pytest.param([[NAN]], [0, 0, 1, 1], NAN, id="nothing but sky: unknown"),
]


@pytest.mark.parametrize(("rows", "box", "expected"), DISTANCES)
def test_distance_by_hand(rows, box, expected):
    found = distances_m(depth_of(rows), np.array([box], float))
    assert found == pytest.approx([expected], nan_ok=True)


def test_a_relative_map_knows_no_metres():
    assert np.isnan(
        distances_m(depth_of(SQUARE, unit="relative"), np.array([[0, 0, 1, 1.0]]))
    ).all()
