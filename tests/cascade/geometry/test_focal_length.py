"""Focal length of a drive: by hand, and its robustness."""

import numpy as np
import pytest

from cascade import taxonomy
from cascade.errors import BadPredictionsError
from cascade.geometry.focal_length import DEFAULT_FOCAL, estimate

ROADWORK = taxonomy.load("roadwork")
SIZE_PX = (720, 1280)
FOCAL_PX = 1100.0
NAN = float("nan")


def boxes_of(height_m, distance_m, top=0.3):
    """Return boxes of such objects in a camera with a focal length of 1100 px."""
    high = FOCAL_PX * np.asarray(height_m) / np.asarray(distance_m) / SIZE_PX[0]
    zero = np.zeros_like(high)
    return np.stack([zero + 0.4, zero + top, zero + 0.45, top + high], axis=1)


def estimate_focal(boxes, label, distance_m, images=None, **changes):
    labels = [label] * len(boxes) if isinstance(label, str) else label
    options = {"size_px": SIZE_PX, "taxonomy": ROADWORK} | changes
    return estimate(
        boxes, labels, distance_m, range(len(boxes)) if images is None else images, **options
    )


def workers(n=200, seed=0, **changes):
    rng = np.random.default_rng(seed)
    distance_m = rng.uniform(8, 25, n)
    return boxes_of(rng.uniform(1.45, 2.05, n), distance_m), distance_m


def test_estimate_from_workers():
    boxes, distance_m = workers()
    focal = estimate_focal(boxes, "worker", distance_m)
    assert focal.px(SIZE_PX) == pytest.approx(FOCAL_PX, rel=0.05)
    assert focal.tolerance == pytest.approx(
        np.log(2.1 / 1.4) / 12**0.5, rel=0.2
    )  # width of the range
    assert focal.objects == 200


def test_tolerance_decreases_with_more_objects():
    boxes, distance_m = workers()
    tolerances = [
        estimate_focal(boxes[:n], "worker", distance_m[:n]).tolerance for n in (1, 5, 25, 200)
    ]
    assert tolerances == sorted(tolerances, reverse=True)
    assert DEFAULT_FOCAL.tolerance > tolerances[0]
    assert tolerances[-1] > 0.1


def test_wide_range_gives_a_larger_tolerance():
    """A vehicle is 1.2 to 4.5 m high, a worker 1.4 to 2.1 m."""
    boxes, distance_m = workers(n=3)
    vehicle, worker = (
        estimate_focal(boxes, name, distance_m).tolerance for name in ("vehicle", "worker")
    )
    assert worker < vehicle


def test_objects_of_one_image_give_a_larger_tolerance():
    """The depth of a whole image may be wrong."""
    boxes, distance_m = workers(n=10)
    single, several = (
        estimate_focal(boxes, "worker", distance_m, images).tolerance
        for images in (["a"] * 10, list("abcdefghij"))
    )
    assert several < single


def test_estimate_is_robust_to_a_fifth_of_outliers():
    boxes, distance_m = workers()
    distance_m = distance_m * np.where(np.arange(200) % 5, 1.0, 4.0)
    focal = estimate_focal(boxes, "worker", distance_m)
    assert focal.px(SIZE_PX) == pytest.approx(FOCAL_PX, rel=0.1)


def test_estimate_is_robust_to_many_low_cars():
    """With the middle of a vehicle's range, 2.1 m, the result would be 30 % too low."""
    rng = np.random.default_rng(1)
    boxes, distance_m = workers(n=20)
    far = rng.uniform(10, 30, 300)
    cars = boxes_of(rng.uniform(1.4, 1.6, 300), far)
    focal = estimate_focal(
        np.concatenate([boxes, cars]),
        ["worker"] * 20 + ["vehicle"] * 300,
        np.concatenate([distance_m, far]),
    )
    assert focal.px(SIZE_PX) == pytest.approx(FOCAL_PX, rel=0.1)


def test_estimate_includes_the_scale_error_of_the_depth():
    boxes, distance_m = workers()
    focal = estimate_focal(boxes, "worker", 1.3 * distance_m)
    assert focal.px(SIZE_PX) == pytest.approx(1.3 * FOCAL_PX, rel=0.05)


def test_estimate_from_images_of_two_sizes():
    """Half of the drive was stored at half the size."""
    boxes, distance_m = workers()
    sizes_px = np.where(np.arange(200)[:, None] % 2, SIZE_PX, np.array(SIZE_PX) // 2)
    uniform, mixed = (
        estimate_focal(boxes, "worker", distance_m, size_px=size_px)
        for size_px in (SIZE_PX, sizes_px)
    )
    assert mixed.in_sides == pytest.approx(uniform.in_sides, rel=0.01)
    assert mixed.px((360, 640)) == pytest.approx(uniform.px(SIZE_PX) / 2, rel=0.01)


IGNORED = [
    pytest.param([0.4, 0.0, 0.5, 0.4], "worker", 10.0, id="truncated above"),
    pytest.param([0.4, 0.6, 0.5, 1.0], "worker", 10.0, id="truncated below"),
    pytest.param([0.4, 0.5, 0.5, 0.51], "worker", 10.0, id="7 px high"),
    pytest.param([0.4, 0.3, 0.5, 0.6], "worker", NAN, id="no distance"),
    pytest.param([0.4, 0.3, 0.5, 0.6], "worker", np.inf, id="infinite distance"),
    pytest.param([0.4, 0.3, 0.5, 0.6], "tree", 10.0, id="unknown class"),
]


@pytest.mark.parametrize(("box", "label", "distance_m"), IGNORED)
def test_ignored_boxes_give_the_default(box, label, distance_m):
    assert estimate_focal(np.array([box]), label, np.array([distance_m])) == DEFAULT_FOCAL


def test_no_boxes_give_the_default():
    assert estimate_focal(np.zeros((0, 4)), [], np.zeros(0)) == DEFAULT_FOCAL


def test_default_has_a_field_of_view_of_70_degrees():
    """Half of the image's longer side is the tangent of 35 degrees away."""
    half_px = SIZE_PX[1] / 2
    assert np.degrees(np.arctan(half_px / DEFAULT_FOCAL.px(SIZE_PX))) == pytest.approx(35.0)
    assert DEFAULT_FOCAL.px((1280, 720)) == DEFAULT_FOCAL.px(SIZE_PX)


def test_order_of_the_boxes_does_not_matter():
    boxes, distance_m = workers()
    images = np.arange(200) // 7
    focal = estimate_focal(boxes, "worker", distance_m, images)
    turned = estimate_focal(boxes[::-1], "worker", distance_m[::-1], images[::-1])
    assert turned.in_sides == pytest.approx(focal.in_sides, rel=1e-9)


def test_different_lengths_raise():
    with pytest.raises(BadPredictionsError, match="the same length, got 1, 1, 1 and 0"):
        estimate_focal(np.array([[0.4, 0.3, 0.5, 0.6]]), "worker", np.ones(1), images=[])
