"""Decoding of brush strokes: known bits, the SDK's encoder, and invalid bytes."""

import numpy as np
import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.annotations.rle import decode

HEADER = "{:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"  # 8 bits a value; run lengths


def packed(bits):
    """Return bits as bytes, padded with zeros."""
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def run(length, value):
    """Return a run of up to 8 equal values."""
    return "1" + "00" + f"{length - 1:03b}" + f"{value:08b}"


def singles(*values):
    """Return values without run-length encoding."""
    return "0" + "00" + f"{len(values) - 1:03b}" + "".join(f"{value:08b}" for value in values)


def test_painted_pixel_is_in_mask():
    """The left pixel is painted: red, green, blue and opacity are 255; the right one is not."""
    rle = packed(HEADER.format(8) + run(4, 255) + run(4, 0))
    assert decode(rle, (2, 1)).tolist() == [[True, False]]


def test_only_opacity_counts():
    rle = packed(HEADER.format(8) + singles(9, 9, 9, 0) + singles(0, 0, 0, 1))
    assert decode(rle, (1, 2)).tolist() == [[False], [True]]


def test_mask_encoded_by_sdk_is_decoded():
    encoder = pytest.importorskip("label_studio_sdk.converter.brush")
    mask = np.random.default_rng(0).random((37, 61)) < 0.3
    mask[10:20] = True
    rle = encoder.mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(decode(rle, (61, 37)), mask)


COMPLETE = HEADER.format(8) + run(4, 255) + run(4, 0)
BROKEN = [
    pytest.param(packed(COMPLETE), (3, 1), "2 pixels, the image 3x1", id="of another image"),
    pytest.param(packed(HEADER.format(2**32 - 1)), (2, 1), "pixels", id="asks for gigabytes"),
    pytest.param(packed(COMPLETE[:70]), (2, 1), "is truncated", id="half of the bits"),
    pytest.param([0, 0, 1], (2, 1), "pixels", id="not even a header"),
    pytest.param([300, 1], (2, 1), "not a list of bytes", id="no bytes"),
    pytest.param(["a"], (2, 1), "not a list of bytes", id="words"),
    pytest.param(10**12, (2, 1), "list of bytes, got int", id="a number that bytes() would fill"),
]


@pytest.mark.parametrize(("rle", "size_wh", "reason"), BROKEN)
def test_invalid_mask_is_rejected(rle, size_wh, reason):
    with pytest.raises(LabelingError, match=reason):
        decode(rle, size_wh)
