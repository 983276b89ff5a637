"""What models look at: images resized, letterboxed or fitted, as their own processors do it.

Pixels are RGB, uint8, shape (1, 3, H, W). Downscaling is antialiased, as in Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Mode = Literal["bilinear", "bicubic"]
_AT_ONCE = 16  # images resized in one step on a GPU: in float32, at full size, that is 180 MB


@dataclass(frozen=True)
class Placement:
    """Where an image lies in its letterbox.

    Attributes:
        scale: Pixels of the letterbox for one of the image.
        left: Of the image's edge, in pixels of the letterbox.
        top: Likewise.
        height: Of the image before it was scaled, in pixels.
        width: Likewise.
    """

    scale: float
    left: int
    top: int
    height: int
    width: int

    def to_relative(self, boxes_xyxy: Tensor) -> Tensor:
        """Return corners in letterbox pixels, shape (N, 4), as relative corners of the image.

        Boxes that reach into the border leave [0, 1]; `to_detections` clips them.
        """
        offset = boxes_xyxy.new_tensor([self.left, self.top] * 2)
        size = boxes_xyxy.new_tensor([self.width, self.height] * 2)
        return (boxes_xyxy - offset) / (self.scale * size)


def resized(pixels: Tensor, height: int, width: int, mode: Mode = "bilinear") -> Tensor:
    """Return the pixels stretched to one size; the CPU has uint8 kernels, CUDA wants floats."""
    size = (height, width)
    if pixels.shape[-2:] == size:
        return pixels
    if pixels.device.type == "cpu":
        return functional.interpolate(pixels, size, mode=mode, antialias=True)
    floats = functional.interpolate(pixels.float(), size, mode=mode, antialias=True)
    return floats.round_().clamp_(0, 255).to(torch.uint8)


def stretched(
    pixels: Sequence[Tensor], height: int, width: int, mode: Mode, *, device: torch.device
) -> Tensor:
    """Return images of any sizes stretched to one, (B, 3, height, width), uint8.

    On a GPU neighbours of one size are resized together: a step for each would keep it waiting.
    """
    parts = [torch.zeros((0, 3, height, width), dtype=torch.uint8, device=device)]
    start = 0
    while start < len(pixels):
        stop = start + 1
        while (
            device.type != "cpu"
            and stop < min(len(pixels), start + _AT_ONCE)
            and pixels[stop].shape == pixels[start].shape
        ):
            stop += 1
        alike = pixels[start] if stop == start + 1 else torch.cat(list(pixels[start:stop]))
        parts.append(resized(alike, height, width, mode))
        start = stop
    return torch.cat(parts)


def letterboxed(
    pixels: Tensor, side: int, *, fill: int = 114, centred: bool = True
) -> tuple[Tensor, Placement]:
    """Return the image inside a square of `side`, its proportions kept, and where it lies there.

    Args:
        pixels: The image.
        side: Of the square, in pixels.
        fill: The grey of the border.
        centred: Whether it lies in the middle (ultralytics) or at the top left (YOLOX).
    """
    height, width = pixels.shape[-2:]
    scale = min(side / height, side / width)
    inner_h, inner_w = round(height * scale), round(width * scale)
    top = round((side - inner_h) / 2 - 0.1) if centred else 0
    left = round((side - inner_w) / 2 - 0.1) if centred else 0
    box = pixels.new_full((1, 3, side, side), fill)
    box[..., top : top + inner_h, left : left + inner_w] = resized(pixels, inner_h, inner_w)
    return box, Placement(scale, left, top, height, width)


def fitted_size(
    height: int, width: int, *, shortest: int, longest: int | None = None, multiple: int = 1
) -> tuple[int, int]:
    """Return the size whose shorter side is `shortest`, proportions kept.

    Args:
        height: Of the image, in pixels.
        width: Likewise.
        shortest: What the shorter side becomes.
        longest: What the longer side must not exceed; then the shorter becomes shorter.
        multiple: Sides are rounded to multiples of it; 1 leaves whole pixels.
    """
    scale = shortest / min(height, width)
    if longest is not None and max(height, width) * scale > longest:
        scale = longest / max(height, width)
    sides = (height * scale, width * scale)
    first, second = (max(multiple, multiple * math.floor(s / multiple + 0.5)) for s in sides)
    return first, second
