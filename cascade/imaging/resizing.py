"""Image resizing like the models' own processors.

Pixels are RGB, uint8, shape (1, 3, H, W). Downscaling is antialiased, as in Pillow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Mode = Literal["bilinear", "bicubic"]
_IMAGES_A_STEP = 16  # on a GPU; in float32 and full size, that is 180 MB


def resize(pixels: Tensor, height: int, width: int, mode: Mode = "bilinear") -> Tensor:
    """Return the pixels stretched to one size; CUDA has no uint8 kernels and uses floats."""
    size = (height, width)
    if pixels.shape[-2:] == size:
        return pixels
    if pixels.device.type == "cpu":
        return functional.interpolate(pixels, size, mode=mode, antialias=True)
    floats = functional.interpolate(pixels.float(), size, mode=mode, antialias=True)
    return floats.round_().clamp_(0, 255).to(torch.uint8)


def resize_batch(
    pixels: Sequence[Tensor], height: int, width: int, mode: Mode, *, device: torch.device
) -> Tensor:
    """Return images of any sizes stretched to one, (B, 3, height, width), uint8.

    A GPU resizes consecutive images of equal size together: single steps would leave it idle.
    """
    parts = [torch.zeros((0, 3, height, width), dtype=torch.uint8, device=device)]
    start = 0
    while start < len(pixels):
        stop = start + 1
        while (
            device.type != "cpu"
            and stop < min(len(pixels), start + _IMAGES_A_STEP)
            and pixels[stop].shape == pixels[start].shape
        ):
            stop += 1
        same_size = pixels[start] if stop == start + 1 else torch.cat(list(pixels[start:stop]))
        parts.append(resize(same_size, height, width, mode))
        start = stop
    return torch.cat(parts)
