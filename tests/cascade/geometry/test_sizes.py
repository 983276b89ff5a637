"""The pinhole check: by hand, with round numbers."""

import numpy as np
import pytest

from cascade import taxonomy
from cascade.errors import BadPredictionsError
from cascade.geometry.sizes import distances_m, sizes
from cascade.predictions import DepthMap

ROADWORK = taxonomy.load("roadwork")
NAN = float("nan")


EXACT = {"focal_tolerance": 0.0, "depth_tolerance": 0.0, "box_tolerance_px": 0.0}


def measured(box, label, distance_m, **tolerances):
    """An image of 1000 by 2000 pixels, focal length 1000 pixels."""
    return sizes(
        np.array([box]),
        [label],
        np.array([distance_m]),
        size_px=(1000, 2000),
        focal_px=1000.0,
        taxonomy=ROADWORK,
        **EXACT | tolerances,
    )


def test_size_by_hand():
    """100 px high and 60 px wide at 10 m with a focal length of 1000 px: 1.0 m by 0.6 m."""
    found = measured([0.5, 0.5, 0.53, 0.6], "drum", 10.0)
    assert found.height_m == pytest.approx([1.0])
    assert found.width_m == pytest.approx([0.6])
    assert found.distance_m.tolist() == [10.0]
    assert found.tolerance.tolist() == [0.0]
    assert found.plausible.tolist() == [True]


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


# A cone may be 1.10 m high. Errors of 0.2 and 0.15 are one of 0.25, and 1.10 m times
# e ** (1.645 * 0.25) is 1.66 m. The box is 100 px high: 0.1 m for each metre of distance.
TOLERATED = [
    pytest.param(16.5, {"depth_tolerance": 0.2, "focal_tolerance": 0.15}, True, id="both explain"),
    pytest.param(
        16.7, {"depth_tolerance": 0.2, "focal_tolerance": 0.15}, False, id="not even both"
    ),
    pytest.param(16.5, {"depth_tolerance": 0.2}, False, id="depth alone does not"),
    pytest.param(16.5, {"focal_tolerance": 0.15}, False, id="nor does the focal length"),
    pytest.param(12.8, {"box_tolerance_px": 10.0}, True, id="a tenth of the box's height does"),
    pytest.param(13.0, {"box_tolerance_px": 10.0}, False, id="but not that much"),
    pytest.param(30.0, {"depth_tolerance": 0.2, "focal_tolerance": 0.2}, False, id="3 m never is"),
    pytest.param(2.0, {"depth_tolerance": 0.25}, True, id="0.20 m could be 0.30 m"),
    pytest.param(1.9, {"depth_tolerance": 0.25}, False, id="0.19 m could not"),
]


@pytest.mark.parametrize(("distance_m", "tolerances", "expected"), TOLERATED)
def test_an_error_is_tolerated_as_far_as_it_goes(distance_m, tolerances, expected):
    """The box is cut off at the left, so that its width of 10 px does not matter."""
    found = measured([0.0, 0.5, 0.005, 0.6], "cone", distance_m, **tolerances)
    assert found.plausible.tolist() == [expected]


def test_an_object_at_the_end_of_its_range_is_flagged_once_in_twenty():
    """What the tolerance means: 1.10 m, seen with a depth that is off by 20 %."""
    rng = np.random.default_rng(0)
    distance_m = 11.0 * np.exp(0.2 * rng.standard_normal(20_000))
    found = sizes(
        np.tile([0.0, 0.5, 0.005, 0.6], (20_000, 1)),
        ["cone"] * 20_000,
        distance_m,
        size_px=(1000, 2000),
        focal_px=1000.0,
        taxonomy=ROADWORK,
        **EXACT | {"depth_tolerance": 0.2},
    )
    assert 1 - found.plausible.mean() == pytest.approx(0.05, abs=0.005)


def test_each_error_counts_in_the_tolerance_that_is_told():
    """0.3, 0.4 and 12 of 100 px: the root of 0.09 + 0.16 + 0.0144."""
    found = measured(
        [0.5, 0.5, 0.6, 0.6],
        "cone",
        7.0,
        depth_tolerance=0.3,
        focal_tolerance=0.4,
        box_tolerance_px=12.0,
    )
    assert found.tolerance == pytest.approx([0.2644**0.5])


def test_boxes_of_different_images_are_measured_together():
    """Half the box in an image of twice the size, or twice the focal length: half the metres."""
    found = sizes(
        np.array([[0.1, 0.2, 0.2, 0.4]] * 3),
        ["cone"] * 3,
        np.array([10.0, 10.0, 10.0]),
        size_px=[(500, 500), (1000, 1000), (500, 500)],
        focal_px=[1000.0, 1000.0, 2000.0],
        focal_tolerance=[0.0, 0.1, 0.2],
        depth_tolerance=0.0,
        box_tolerance_px=0.0,
        taxonomy=ROADWORK,
    )
    assert found.height_m == pytest.approx([1.0, 2.0, 0.5])
    assert found.tolerance == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize("focal_px", [500.0, 900.0, 1500.0])
def test_the_focal_length_cancels_where_it_made_the_metres(focal_px):
    """Depth Anything 3: a raw value of 3 and 100 px are 1 m, whatever the camera."""
    raw = 3.0
    found = sizes(
        np.array([[0.5, 0.5, 0.53, 0.6]]),
        ["cone"],
        np.array([focal_px * raw / 300]),
        size_px=(1000, 2000),
        focal_px=focal_px,
        focal_tolerance=0.0,
        taxonomy=ROADWORK,
    )
    assert found.height_m == pytest.approx([100 * raw / 300])


def test_a_class_without_ranges_is_never_implausible():
    plain = taxonomy.from_labels("plain", ["cone"], ["cone"])
    found = sizes(
        np.array([[0.1, 0.1, 0.2, 0.9]]),
        ["cone"],
        np.array([100.0]),
        size_px=(100, 100),
        focal_px=10.0,
        taxonomy=plain,
        **EXACT,
    )
    assert found.plausible.tolist() == [True]


def test_a_box_without_extent_says_nothing():
    found = measured([0.5, 0.5, 0.5, 0.5], "cone", 7.0, box_tolerance_px=1.5)
    assert found.plausible.tolist() == [True]
    assert found.height_m.tolist() == [0.0]


def nothing_measured(**changes):
    given = {"size_px": (10, 10), "focal_px": 1.0, "taxonomy": ROADWORK} | EXACT
    return sizes(np.zeros((0, 4)), [], np.zeros(0), **given | changes)


def test_no_boxes():
    found = nothing_measured()
    assert found.plausible.shape == found.height_m.shape == found.tolerance.shape == (0,)


@pytest.mark.parametrize("focal_px", [0.0, -1.0, NAN])
def test_a_camera_without_a_focal_length_is_refused(focal_px):
    with pytest.raises(BadPredictionsError, match=f"focal_px must be above 0, got {focal_px}"):
        nothing_measured(focal_px=focal_px)


def test_one_bad_focal_length_among_many_is_named():
    with pytest.raises(BadPredictionsError, match=r"focal_px must be above 0, got -3\.0"):
        sizes(
            np.zeros((2, 4)),
            ["cone"] * 2,
            np.ones(2),
            size_px=(10, 10),
            focal_px=[5.0, -3.0],
            taxonomy=ROADWORK,
            **EXACT,
        )


@pytest.mark.parametrize("name", ["focal_tolerance", "depth_tolerance", "box_tolerance_px"])
def test_a_negative_tolerance_is_refused(name):
    with pytest.raises(BadPredictionsError, match=f"{name} must be 0 or above, got -0.1"):
        nothing_measured(**{name: -0.1})


def test_focal_lengths_of_other_boxes_are_refused():
    with pytest.raises(BadPredictionsError, match=r"focal_px must be .* \(0,\), got shape \(3,\)"):
        nothing_measured(focal_px=[1.0, 1.0, 1.0])


def test_different_numbers_of_boxes_are_refused():
    with pytest.raises(BadPredictionsError, match="the same boxes, got 0, 1 and 0"):
        sizes(
            np.zeros((0, 4)),
            ["cone"],
            np.zeros(0),
            size_px=(10, 10),
            focal_px=1.0,
            taxonomy=ROADWORK,
            **EXACT,
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
