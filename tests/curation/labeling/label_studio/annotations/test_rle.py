"""Strokes: bits by hand, the SDK's own encoder, and bytes that are none."""

import numpy as np
import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.annotations import rle as brush

HEADER = "{:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"  # 8 bits a value; run lengths


def packed(bits):
    """Return bits as bytes, filled up with zeros."""
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def run(length, value):
    """Return a run of up to 8 equal values."""
    return "1" + "00" + f"{length - 1:03b}" + f"{value:08b}"


def singles(*values):
    """Return values that are written out one by one."""
    return "0" + "00" + f"{len(values) - 1:03b}" + "".join(f"{one:08b}" for one in values)


def test_two_pixels_by_hand():
    """The left one is painted: red, green, blue and opacity are 255; the right one is not."""
    rle = packed(HEADER.format(8) + run(4, 255) + run(4, 0))
    assert brush.decode(rle, (2, 1)).tolist() == [[True, False]]


def test_only_opacity_counts():
    rle = packed(HEADER.format(8) + singles(9, 9, 9, 0) + singles(0, 0, 0, 1))
    assert brush.decode(rle, (1, 2)).tolist() == [[False], [True]]


def test_what_the_sdk_encodes_is_decoded():
    encoder = pytest.importorskip("label_studio_sdk.converter.brush")
    mask = np.random.default_rng(0).random((37, 61)) < 0.3
    mask[10:20] = True
    rle = encoder.mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(brush.decode(rle, (61, 37)), mask)


WHOLE = HEADER.format(8) + run(4, 255) + run(4, 0)
BROKEN = [
    pytest.param(packed(WHOLE), (3, 1), "2 pixels, the image 3x1", id="of another image"),
    pytest.param(packed(HEADER.format(2**32 - 1)), (2, 1), "pixels", id="asks for gigabytes"),
    pytest.param(packed(WHOLE[:70]), (2, 1), "breaks off", id="half of the bits"),
    pytest.param([0, 0, 1], (2, 1), "pixels", id="not even a header"),
    pytest.param([300, 1], (2, 1), "no list of bytes", id="no bytes"),
    pytest.param(["a"], (2, 1), "no list of bytes", id="words"),
    pytest.param(10**12, (2, 1), "list of bytes, got int", id="a number that bytes() would fill"),
]


@pytest.mark.parametrize(("rle", "size_wh", "reason"), BROKEN)
def test_what_is_no_mask_is_refused(rle, size_wh, reason):
    with pytest.raises(LabelingError, match=reason):
        brush.decode(rle, size_wh)
