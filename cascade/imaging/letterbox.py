"""Letterbox of the YOLO families: scaled like OpenCV, without antialiasing.

These networks have not seen antialiased images in training; with antialiasing, downscaled
photographs differ by tens of gray levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cascade.imaging.batches import Batch

Style = Literal["ultralytics", "yolox"]
FILL = 114  # gray level of the border


@dataclass(frozen=True)
class Inset:
    """Position of the scaled image in its square, in pixels of the square."""

    left: int
    top: int
    width: int
    height: int

    def to_relative(self, boxes_xyxy: Tensor) -> Tensor:
        """Return corners in pixels of the square, shape (N, 4), as relative corners of the image.

        Boxes that extend into the border leave [0, 1]; `to_detections` clips them.
        """
        offset = boxes_xyxy.new_tensor([self.left, self.top] * 2)
        return (boxes_xyxy - offset) / boxes_xyxy.new_tensor([self.width, self.height] * 2)


def inset(height: int, width: int, side: int, style: Style) -> Inset:
    """Return the position of an image in a square of `side`, keeping its proportions.

    ultralytics rounds the size and centers the image; YOLOX truncates it and starts top left.
    """
    scale = min(side / height, side / width)
    if style == "yolox":
        return Inset(0, 0, max(int(width * scale), 1), max(int(height * scale), 1))
    inner_w, inner_h = max(round(width * scale), 1), max(round(height * scale), 1)
    left, top = round((side - inner_w) / 2 - 0.1), round((side - inner_h) / 2 - 0.1)
    return Inset(left, top, inner_w, inner_h)


def linear_letterbox(batch: Batch, side: int, style: Style) -> tuple[Tensor, list[Inset]]:
    """Return all images in squares, (B, 3, side, side), uint8, and their positions; cached."""

    def compute() -> tuple[Tensor, list[Inset]]:
        insets = [inset(*size, side, style) for size in batch.sizes]
        squares = torch.full(
            (len(batch), 3, side, side), FILL, dtype=torch.uint8, device=batch.device
        )
        for square, place, pixels in zip(squares, insets, batch.pixels(), strict=True):
            bottom, right = place.top + place.height, place.left + place.width
            square[:, place.top : bottom, place.left : right] = resize_linear(
                pixels, place.height, place.width
            )[0]
        return squares, insets

    return batch.shared(("linear letterbox", side, style), compute)


def resize_linear(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return RGB uint8 pixels, (1, 3, H, W), resized like OpenCV's default."""
    size = (height, width)
    if pixels.shape[-2:] == size:
        return pixels
    floats = functional.interpolate(pixels.float(), size, mode="bilinear", align_corners=False)
    return floats.round_().to(torch.uint8)
