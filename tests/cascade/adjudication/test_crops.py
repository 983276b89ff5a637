"""Close-ups of places in an image."""

import numpy as np
import pytest

from cascade.adjudication import crops


def image(height, width):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_around_a_box_lies_more_than_the_box():
    assert crops.around((0.4, 0.4, 0.6, 0.5)) == pytest.approx((0.34, 0.37, 0.66, 0.53))


def test_around_a_tiny_box_lies_enough_to_tell_where_it_is():
    x1, y1, x2, y2 = crops.around((0.5, 0.5, 0.5, 0.5))
    assert (x2 - x1, y2 - y1) == pytest.approx((0.05, 0.05))


def test_a_region_stays_in_the_image():
    assert crops.around((0.0, 0.9, 0.1, 1.0)) == pytest.approx((0.0, 0.87, 0.13, 1.0))


@pytest.mark.parametrize("region", [(0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (0.5, 0.0, 0.5, 1)])
def test_a_crop_has_at_least_one_pixel(region):
    assert crops.cut(image(7, 9), region).size


def test_a_crop_has_the_pixels_of_its_region():
    whole = image(100, 200)
    assert np.array_equal(crops.cut(whole, (0.25, 0.5, 0.5, 0.75)), whole[50:75, 50:100])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((1000, 1200), (1000, 1200), id="large enough"),
        pytest.param((112, 224), (448, 896), id="small"),
        pytest.param((10, 20), (80, 160), id="so small that more would be blur"),
    ],
)
def test_a_close_up_is_enlarged_within_reason(size, expected):
    shown = crops.close_up(image(*size), (0.0, 0.0, 1.0, 1.0))
    assert shown.shape == (*expected, 3)
    assert shown.dtype == np.uint8
