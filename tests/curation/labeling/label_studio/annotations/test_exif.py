"""Orientations, against Pillow's own turning of an image."""

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
def test_a_mask_is_turned_as_the_image_is(orientation):
    stored = np.arange(15, dtype=np.uint8).reshape(3, 5)
    for value in range(15):
        turned = exif.upright_mask(stored == value, orientation)
        assert np.array_equal(turned, shown(stored, orientation) == value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_place_is_where_its_pixel_is_shown(orientation):
    stored = np.arange(15, dtype=np.uint8).reshape(3, 5)
    upright = shown(stored, orientation)
    height, width = upright.shape
    for value in range(15):
        row, column = divmod(value, 5)
        centre = np.array([[(column + 0.5) / 5, (row + 0.5) / 3]])
        x, y = exif.upright_points(centre, orientation)[0]
        assert upright[int(y * height), int(x * width)] == value


@pytest.mark.parametrize("orientation", range(1, 9))
def test_which_orientations_swap_the_axes(orientation):
    stored = np.zeros((3, 5), np.uint8)
    assert (shown(stored, orientation).shape == (5, 3)) == exif.swaps_axes(orientation)
