"""Resizing of mask maps with bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LONGEST_SIDE = 1280  # longest side of a mask in pixels; the networks' own maps have 256 or 288
PIXELS_PER_STEP = 1 << 25  # pixels enlarged per step: 128 MiB of float32


def enlarge_masks(maps: Tensor, size: tuple[int, int], *, above: float) -> NDArray[np.bool_]:
    """Return the masks of maps that are enlarged bilinearly to `size`.

    A few maps are enlarged per step, which bounds the memory on the device.

    Args:
        maps: Logits or probabilities, shape (N, h, w), on any device, in any precision.
        size: Height and width of the result, in pixels.
        above: Value that a mask's pixels exceed.

    Returns:
        Masks of shape (N, *size), on the CPU.
    """
    result = np.zeros((len(maps), *size), np.bool_)
    step = max(1, PIXELS_PER_STEP // (size[0] * size[1]))
    for start in range(0, len(maps), step):
        part = maps[None, start : start + step].float()
        large = functional.interpolate(part, size, mode="bilinear", align_corners=False)[0]
        result[start : start + step] = (large > above).cpu().numpy()
    return result


def map_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the size of an image's maps: its own, scaled down to `longest` if larger."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
