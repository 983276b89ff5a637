"""Decoding of Label Studio's brush strokes: bit-packed run lengths of an RGBA image.

The only module that uses the SDK's converter, whose slow import waits for the first mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curation.errors import LabelingError

_CHANNELS = 4
_LENGTH_BYTES = 4  # header: the number of values, in 32 bits


def decode(rle: Sequence[int], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of a stroke, shape (H, W).

    The mask contains the pixels that are not fully transparent, as in Label Studio.

    Args:
        rle: Bytes as numbers.
        size_wh: Width and height of the painted image.

    Raises:
        LabelingError: The bytes are not strokes on an image of that size.
    """
    width, height = size_wh
    if not isinstance(rle, list | tuple):  # bytes(10**12) would allocate that many zeros
        raise LabelingError(f"The mask must be a list of bytes, got {type(rle).__name__}.")
    try:
        packed = bytes(rle)
    except (TypeError, ValueError) as error:
        raise LabelingError(f"The mask is not a list of bytes: {error}.") from error
    n_values = int.from_bytes(packed[:_LENGTH_BYTES], "big")
    if n_values != width * height * _CHANNELS:  # otherwise a few bytes could request gigabytes
        raise LabelingError(
            f"The mask has {n_values // _CHANNELS} pixels, the image {width}x{height}."
        )
    from label_studio_sdk.converter import brush

    try:
        pixels = brush.decode_rle(packed)
    except (ValueError, IndexError) as error:
        raise LabelingError(f"The mask is truncated: {error}.") from error
    return pixels.reshape(height, width, _CHANNELS)[:, :, 3] > 0
