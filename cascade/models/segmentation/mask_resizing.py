"""What the segmenters have in common: maps brought to the image's size, with bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LONGEST_SIDE = 1280  # of a mask's map, in pixels; the networks themselves draw 256 or 288
PIXELS_AT_ONCE = 1 << 25  # that are enlarged at a time: 128 MiB of float32


def enlarged(maps: Tensor, size: tuple[int, int], *, above: float) -> NDArray[np.bool_]:
    """Return where maps exceed a value when they are enlarged to `size`, bilinearly.

    A few maps are enlarged at a time, so that memory on the device stays bounded.

    Args:
        maps: Logits or probabilities, shape (N, h, w), on any device, of any precision.
        size: Height and width of the result, in pixels.
        above: What a pixel of an object exceeds.

    Returns:
        Shape (N, *size), on the CPU.
    """
    result = np.zeros((len(maps), *size), np.bool_)
    step = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
    for start in range(0, len(maps), step):
        part = maps[None, start : start + step].float()
        large = functional.interpolate(part, size, mode="bilinear", align_corners=False)[0]
        result[start : start + step] = (large > above).cpu().numpy()
    return result


def map_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the size of an image's maps: its own, or scaled so that no side exceeds `longest`."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
