"""Crops of image regions."""

import numpy as np
import pytest

from cascade.adjudication import crops


def image(height, width):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_region_around_box_includes_surroundings():
    assert crops.region_around((0.4, 0.4, 0.6, 0.5)) == pytest.approx((0.34, 0.37, 0.66, 0.53))


def test_region_around_tiny_box_has_minimal_side():
    x1, y1, x2, y2 = crops.region_around((0.5, 0.5, 0.5, 0.5))
    assert (x2 - x1, y2 - y1) == pytest.approx((0.05, 0.05))


def test_region_around_box_stays_in_image():
    assert crops.region_around((0.0, 0.9, 0.1, 1.0)) == pytest.approx((0.0, 0.87, 0.13, 1.0))


@pytest.mark.parametrize("region", [(0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (0.5, 0.0, 0.5, 1)])
def test_crop_has_at_least_one_pixel(region):
    assert crops.crop(image(7, 9), region).size


def test_crop_has_pixels_of_region():
    pixels = image(100, 200)
    assert np.array_equal(crops.crop(pixels, (0.25, 0.5, 0.5, 0.75)), pixels[50:75, 50:100])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((1000, 1200), (1000, 1200), id="large enough"),
        pytest.param((112, 224), (448, 896), id="small"),
        pytest.param((10, 20), (80, 160), id="too small for full enlargement"),
    ],
)
def test_close_up_is_enlarged_up_to_limit(size, expected):
    enlarged = crops.close_up(image(*size), (0.0, 0.0, 1.0, 1.0))
    assert enlarged.shape == (*expected, 3)
    assert enlarged.dtype == np.uint8
