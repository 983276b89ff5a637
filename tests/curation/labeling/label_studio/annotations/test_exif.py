"""Orientations compared with Pillow's transposition."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from curation.labeling.label_studio.annotations import exif

EXIF_ORIENTATION = 0x0112


def shown(stored, orientation):
    """Return the pixels as a viewer shows them."""
    image = Image.fromarray(stored)
    image.getexif()[EXIF_ORIENTATION] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_mask_is_transposed_like_image(orientation):
    stored = np.arange(15, dtype=np.uint8).reshape(3, 5)
    for value in range(15):
        upright = exif.upright_mask(stored == value, orientation)
        assert np.array_equal(upright, shown(stored, orientation) == value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_point_is_at_displayed_pixel(orientation):
    stored = np.arange(15, dtype=np.uint8).reshape(3, 5)
    upright = shown(stored, orientation)
    height, width = upright.shape
    for value in range(15):
        row, column = divmod(value, 5)
        center = np.array([[(column + 0.5) / 5, (row + 0.5) / 3]])
        x, y = exif.upright_points(center, orientation)[0]
        assert upright[int(y * height), int(x * width)] == value


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_that_swap_axes(orientation):
    stored = np.zeros((3, 5), np.uint8)
    assert (shown(stored, orientation).shape == (5, 3)) == exif.swaps_axes(orientation)
