"""Label Studio's brush strokes: run lengths of an RGBA image, packed into bits, as bytes.

The only file that asks the SDK's converter. Its import takes seconds, so it waits until the
first mask comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curation.errors import LabelingError

_CHANNELS = 4
_LENGTH_BYTES = 4  # the number of values comes first, in 32 bits


def decode(rle: Sequence[int], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask that a stroke paints, shape (H, W).

    A pixel belongs to it where it is not wholly transparent, as in Label Studio itself.

    Args:
        rle: Bytes as numbers.
        size_wh: Width and height of the image that was painted on.

    Raises:
        LabelingError: The bytes are no strokes on an image of that size.
    """
    width, height = size_wh
    if not isinstance(rle, list | tuple):  # bytes(10**12) would ask for so many zeros
        raise LabelingError(f"The mask must be a list of bytes, got {type(rle).__name__}.")
    try:
        packed = bytes(rle)
    except (TypeError, ValueError) as error:
        raise LabelingError(f"The mask is no list of bytes: {error}.") from error
    values = int.from_bytes(packed[:_LENGTH_BYTES], "big")
    if values != width * height * _CHANNELS:  # else a few bytes could ask for gigabytes
        raise LabelingError(
            f"The mask has {values // _CHANNELS} pixels, the image {width}x{height}."
        )
    from label_studio_sdk.converter import brush

    try:
        pixels = brush.decode_rle(packed)
    except (ValueError, IndexError) as error:
        raise LabelingError(f"The mask breaks off: {error}.") from error
    return pixels.reshape(height, width, _CHANNELS)[:, :, 3] > 0
