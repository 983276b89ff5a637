"""The focal length of a drive: by hand, and what it is deaf to."""

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
    """Boxes as high as a camera with a focal length of 1100 px sees such objects."""
    high = FOCAL_PX * np.asarray(height_m) / np.asarray(distance_m) / SIZE_PX[0]
    zero = np.zeros_like(high)
    return np.stack([zero + 0.4, zero + top, zero + 0.45, top + high], axis=1)


def asked(boxes, label, distance_m, images=None, **changes):
    labels = [label] * len(boxes) if isinstance(label, str) else label
    given = {"size_px": SIZE_PX, "taxonomy": ROADWORK} | changes
    return estimate(
        boxes, labels, distance_m, range(len(boxes)) if images is None else images, **given
    )


def workers(n=200, seed=0, **changes):
    rng = np.random.default_rng(seed)
    distance_m = rng.uniform(8, 25, n)
    return boxes_of(rng.uniform(1.45, 2.05, n), distance_m), distance_m


def test_workers_tell_the_focal_length():
    boxes, distance_m = workers()
    found = asked(boxes, "worker", distance_m)
    assert found.px(SIZE_PX) == pytest.approx(FOCAL_PX, rel=0.05)
    assert found.tolerance == pytest.approx(np.log(2.1 / 1.4) / 12**0.5, rel=0.2)  # of the range
    assert found.objects == 200


def test_more_objects_tell_more_and_never_all():
    boxes, distance_m = workers()
    told = [asked(boxes[:n], "worker", distance_m[:n]).tolerance for n in (1, 5, 25, 200)]
    assert told == sorted(told, reverse=True)
    assert DEFAULT_FOCAL.tolerance > told[0]
    assert told[-1] > 0.1


def test_a_wide_range_tells_less_than_a_narrow_one():
    """A vehicle is 1.2 to 4.5 m high, a worker 1.4 to 2.1 m."""
    boxes, distance_m = workers(n=3)
    vehicle, worker = (asked(boxes, one, distance_m).tolerance for one in ("vehicle", "worker"))
    assert worker < vehicle


def test_objects_of_one_image_tell_less_than_as_many_of_several():
    """Its depth may be wrong as a whole."""
    boxes, distance_m = workers(n=10)
    one, several = (
        asked(boxes, "worker", distance_m, images).tolerance
        for images in (["a"] * 10, list("abcdefghij"))
    )
    assert several < one


def test_a_fifth_of_nonsense_is_not_listened_to():
    boxes, distance_m = workers()
    distance_m = distance_m * np.where(np.arange(200) % 5, 1.0, 4.0)
    found = asked(boxes, "worker", distance_m)
    assert found.px(SIZE_PX) == pytest.approx(FOCAL_PX, rel=0.1)


def test_cars_that_are_all_low_do_not_drag_it_along():
    """Taken for the middle of a vehicle's range, 2.1 m, they would put it 30 % too low."""
    rng = np.random.default_rng(1)
    seen, distance_m = workers(n=20)
    far = rng.uniform(10, 30, 300)
    cars = boxes_of(rng.uniform(1.4, 1.6, 300), far)
    found = asked(
        np.concatenate([seen, cars]),
        ["worker"] * 20 + ["vehicle"] * 300,
        np.concatenate([distance_m, far]),
    )
    assert found.px(SIZE_PX) == pytest.approx(FOCAL_PX, rel=0.1)


def test_a_depth_that_is_off_throughout_is_part_of_the_answer():
    boxes, distance_m = workers()
    found = asked(boxes, "worker", 1.3 * distance_m)
    assert found.px(SIZE_PX) == pytest.approx(1.3 * FOCAL_PX, rel=0.05)


def test_images_of_two_sizes_tell_one_focal_length():
    """Half of the drive was stored at half the size."""
    boxes, distance_m = workers()
    sizes_px = np.where(np.arange(200)[:, None] % 2, SIZE_PX, np.array(SIZE_PX) // 2)
    whole, mixed = (
        asked(boxes, "worker", distance_m, size_px=size_px) for size_px in (SIZE_PX, sizes_px)
    )
    assert mixed.in_sides == pytest.approx(whole.in_sides, rel=0.01)
    assert mixed.px((360, 640)) == pytest.approx(whole.px(SIZE_PX) / 2, rel=0.01)


WITHOUT_A_SAY = [
    pytest.param([0.4, 0.0, 0.5, 0.4], "worker", 10.0, id="cut off above"),
    pytest.param([0.4, 0.6, 0.5, 1.0], "worker", 10.0, id="cut off below"),
    pytest.param([0.4, 0.5, 0.5, 0.51], "worker", 10.0, id="7 px high"),
    pytest.param([0.4, 0.3, 0.5, 0.6], "worker", NAN, id="no distance"),
    pytest.param([0.4, 0.3, 0.5, 0.6], "worker", np.inf, id="endlessly far"),
    pytest.param([0.4, 0.3, 0.5, 0.6], "tree", 10.0, id="no such class"),
]


@pytest.mark.parametrize(("box", "label", "distance_m"), WITHOUT_A_SAY)
def test_what_has_no_say_leaves_what_is_assumed(box, label, distance_m):
    assert asked(np.array([box]), label, np.array([distance_m])) == DEFAULT_FOCAL


def test_nobody_at_all_leaves_what_is_assumed():
    assert asked(np.zeros((0, 4)), [], np.zeros(0)) == DEFAULT_FOCAL


def test_the_assumed_camera_sees_70_degrees():
    """Half of the image's longer side is the tangent of 35 degrees away."""
    half_px = SIZE_PX[1] / 2
    assert np.degrees(np.arctan(half_px / DEFAULT_FOCAL.px(SIZE_PX))) == pytest.approx(35.0)
    assert DEFAULT_FOCAL.px((1280, 720)) == DEFAULT_FOCAL.px(SIZE_PX)


def test_the_order_of_the_boxes_does_not_matter():
    boxes, distance_m = workers()
    images = np.arange(200) // 7
    found = asked(boxes, "worker", distance_m, images)
    turned = asked(boxes[::-1], "worker", distance_m[::-1], images[::-1])
    assert turned.in_sides == pytest.approx(found.in_sides, rel=1e-9)


def test_different_numbers_of_boxes_are_refused():
    with pytest.raises(BadPredictionsError, match="the same boxes, got 1, 1, 1 and 0"):
        asked(np.array([[0.4, 0.3, 0.5, 0.6]]), "worker", np.ones(1), images=[])
