"""Sizes and distances by hand, with round numbers."""

import numpy as np
import pytest

from cascade import taxonomy
from cascade.errors import BadPredictionsError
from cascade.geometry.sizes import distances_m, object_sizes
from cascade.predictions import DepthMap

ROADWORK = taxonomy.load("roadwork")
NAN = float("nan")


EXACT = {"focal_tolerance": 0.0, "depth_tolerance": 0.0, "box_tolerance_px": 0.0}


def measure(box, label, distance_m, **tolerances):
    """Return the sizes in an image of 1000 by 2000 pixels with a focal length of 1000."""
    return object_sizes(
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
    measured = measure([0.5, 0.5, 0.53, 0.6], "drum", 10.0)
    assert measured.height_m == pytest.approx([1.0])
    assert measured.width_m == pytest.approx([0.6])
    assert measured.distance_m.tolist() == [10.0]
    assert measured.tolerance.tolist() == [0.0]
    assert measured.plausible.tolist() == [True]


PLAUSIBLE = [  # a box 100 px high and 30 px wide: 0.1 m by 0.03 m per meter of distance
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 7.0, True, id="0.70 m by 0.21 m"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 2.0, False, id="too low"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 12.0, False, id="too high"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", 6.0, False, id="too narrow"),
    pytest.param([0.5, 0.5, 0.55, 0.6], "cone", 7.0, False, id="too wide"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "cone", NAN, True, id="unknown depth"),
    pytest.param([0.5, 0.5, 0.515, 0.6], "tree", 2.0, True, id="unknown class"),
    pytest.param([0.5, 0.9, 0.515, 1.0], "cone", 7.0, True, id="at the lower border"),
    pytest.param([0.5, 0.97, 0.52, 1.0], "cone", 7.0, True, id="truncated below, too low"),
    pytest.param([0.5, 0.8, 0.515, 1.0], "cone", 7.0, False, id="truncated below, too high"),
    pytest.param([0.0, 0.5, 0.01, 0.6], "cone", 7.0, True, id="truncated left, too narrow"),
    pytest.param([0.0, 0.5, 0.01, 0.52], "cone", 7.0, False, id="truncated left, too low"),
]


@pytest.mark.parametrize(("box", "label", "distance_m", "expected"), PLAUSIBLE)
def test_plausible(box, label, distance_m, expected):
    assert measure(box, label, distance_m).plausible.tolist() == [expected]


# A cone is at most 1.10 m high. Errors of 0.2 and 0.15 combine to 0.25, and 1.10 m times
# e ** (1.645 * 0.25) is 1.66 m. The box is 100 px high: 0.1 m per meter of distance.
TOLERATED = [
    pytest.param(
        16.5, {"depth_tolerance": 0.2, "focal_tolerance": 0.15}, True, id="within both errors"
    ),
    pytest.param(
        16.7, {"depth_tolerance": 0.2, "focal_tolerance": 0.15}, False, id="beyond both errors"
    ),
    pytest.param(16.5, {"depth_tolerance": 0.2}, False, id="beyond the depth error"),
    pytest.param(16.5, {"focal_tolerance": 0.15}, False, id="beyond the focal error"),
    pytest.param(12.8, {"box_tolerance_px": 10.0}, True, id="within the box error"),
    pytest.param(13.0, {"box_tolerance_px": 10.0}, False, id="beyond the box error"),
    pytest.param(30.0, {"depth_tolerance": 0.2, "focal_tolerance": 0.2}, False, id="3 m"),
    pytest.param(2.0, {"depth_tolerance": 0.25}, True, id="0.20 m"),
    pytest.param(1.9, {"depth_tolerance": 0.25}, False, id="0.19 m"),
]


@pytest.mark.parametrize(("distance_m", "tolerances", "expected"), TOLERATED)
def test_plausible_with_tolerances(distance_m, tolerances, expected):
    """The box is truncated on the left, so its width of 10 px does not matter."""
    measured = measure([0.0, 0.5, 0.005, 0.6], "cone", distance_m, **tolerances)
    assert measured.plausible.tolist() == [expected]


def test_object_at_the_end_of_the_range_is_flagged_in_one_of_twenty_cases():
    """An object of 1.10 m with a depth error of 20 %."""
    rng = np.random.default_rng(0)
    distance_m = 11.0 * np.exp(0.2 * rng.standard_normal(20_000))
    measured = object_sizes(
        np.tile([0.0, 0.5, 0.005, 0.6], (20_000, 1)),
        ["cone"] * 20_000,
        distance_m,
        size_px=(1000, 2000),
        focal_px=1000.0,
        taxonomy=ROADWORK,
        **EXACT | {"depth_tolerance": 0.2},
    )
    assert 1 - measured.plausible.mean() == pytest.approx(0.05, abs=0.005)


def test_tolerance_combines_all_errors():
    """0.3, 0.4 and 12 of 100 px: the root of 0.09 + 0.16 + 0.0144."""
    measured = measure(
        [0.5, 0.5, 0.6, 0.6],
        "cone",
        7.0,
        depth_tolerance=0.3,
        focal_tolerance=0.4,
        box_tolerance_px=12.0,
    )
    assert measured.tolerance == pytest.approx([0.2644**0.5])


def test_sizes_with_values_per_box():
    """Half the box in an image of twice the size, or twice the focal length: half the meters."""
    measured = object_sizes(
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
    assert measured.height_m == pytest.approx([1.0, 2.0, 0.5])
    assert measured.tolerance == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize("focal_px", [500.0, 900.0, 1500.0])
def test_focal_length_cancels_for_depth_anything_3(focal_px):
    """Depth Anything 3: a raw value of 3 and 100 px are 1 m for any camera."""
    raw = 3.0
    measured = object_sizes(
        np.array([[0.5, 0.5, 0.53, 0.6]]),
        ["cone"],
        np.array([focal_px * raw / 300]),
        size_px=(1000, 2000),
        focal_px=focal_px,
        focal_tolerance=0.0,
        taxonomy=ROADWORK,
    )
    assert measured.height_m == pytest.approx([100 * raw / 300])


def test_class_without_ranges_is_plausible():
    plain = taxonomy.from_labels("plain", ["cone"], ["cone"])
    measured = object_sizes(
        np.array([[0.1, 0.1, 0.2, 0.9]]),
        ["cone"],
        np.array([100.0]),
        size_px=(100, 100),
        focal_px=10.0,
        taxonomy=plain,
        **EXACT,
    )
    assert measured.plausible.tolist() == [True]


def test_empty_box_is_plausible():
    measured = measure([0.5, 0.5, 0.5, 0.5], "cone", 7.0, box_tolerance_px=1.5)
    assert measured.plausible.tolist() == [True]
    assert measured.height_m.tolist() == [0.0]


def measure_no_boxes(**changes):
    options = {"size_px": (10, 10), "focal_px": 1.0, "taxonomy": ROADWORK} | EXACT
    return object_sizes(np.zeros((0, 4)), [], np.zeros(0), **options | changes)


def test_no_boxes():
    measured = measure_no_boxes()
    assert measured.plausible.shape == measured.height_m.shape == measured.tolerance.shape == (0,)


@pytest.mark.parametrize("focal_px", [0.0, -1.0, NAN])
def test_invalid_focal_length_raises(focal_px):
    with pytest.raises(BadPredictionsError, match=f"focal_px must be above 0, got {focal_px}"):
        measure_no_boxes(focal_px=focal_px)


def test_invalid_focal_length_among_several_is_named():
    with pytest.raises(BadPredictionsError, match=r"focal_px must be above 0, got -3\.0"):
        object_sizes(
            np.zeros((2, 4)),
            ["cone"] * 2,
            np.ones(2),
            size_px=(10, 10),
            focal_px=[5.0, -3.0],
            taxonomy=ROADWORK,
            **EXACT,
        )


@pytest.mark.parametrize("name", ["focal_tolerance", "depth_tolerance", "box_tolerance_px"])
def test_negative_tolerance_raises(name):
    with pytest.raises(BadPredictionsError, match=f"{name} must be 0 or above, got -0.1"):
        measure_no_boxes(**{name: -0.1})


def test_wrong_number_of_focal_lengths_raises():
    with pytest.raises(BadPredictionsError, match=r"focal_px must be .* \(0,\), got shape \(3,\)"):
        measure_no_boxes(focal_px=[1.0, 1.0, 1.0])


def test_different_lengths_raise():
    with pytest.raises(BadPredictionsError, match="the same length, got 0, 1 and 0"):
        object_sizes(
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
    pytest.param(SQUARE, [0, 0, 1, 1], 3.5, id="median of the inner half"),
    pytest.param(SQUARE, [0.3, 0.3, 0.4, 0.4], 2.0, id="box within a pixel"),
    pytest.param(SQUARE, [1, 1, 1, 1], 9.0, id="point at the far corner"),
    pytest.param([[NAN, 4.0], [NAN, NAN]], [0, 0, 1, 1], 4.0, id="sky is ignored"),
    pytest.param([[NAN]], [0, 0, 1, 1], NAN, id="sky only"),
]


@pytest.mark.parametrize(("rows", "box", "expected"), DISTANCES)
def test_distance_by_hand(rows, box, expected):
    distances = distances_m(depth_of(rows), np.array([box], float))
    assert distances == pytest.approx([expected], nan_ok=True)


def test_distance_in_a_relative_map_is_unknown():
    assert np.isnan(
        distances_m(depth_of(SQUARE, unit="relative"), np.array([[0, 0, 1, 1.0]]))
    ).all()
