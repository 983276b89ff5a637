"""The letterbox of the YOLO families: scaled as OpenCV does it, without antialiasing.

`Batch.letterbox` is antialiased, which these networks have not seen in training: downscaled
photographs differ by tens of grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cascade.imaging.batches import Batch

Style = Literal["ultralytics", "yolox"]
FILL = 114  # the grey of the border


@dataclass(frozen=True)
class Inset:
    """Where the scaled image lies in its square, in pixels of the square."""

    left: int
    top: int
    width: int
    height: int

    def to_relative(self, boxes_xyxy: Tensor) -> Tensor:
        """Return corners in pixels of the square, shape (N, 4), as relative corners of the image.

        Boxes that reach into the border leave [0, 1]; `to_detections` clips them.
        """
        offset = boxes_xyxy.new_tensor([self.left, self.top] * 2)
        return (boxes_xyxy - offset) / boxes_xyxy.new_tensor([self.width, self.height] * 2)


def inset(height: int, width: int, side: int, style: Style) -> Inset:
    """Return where an image lies in a square of `side`, its proportions kept.

    ultralytics rounds its size and centres it; YOLOX cuts it off and starts at the top left.
    """
    scale = min(side / height, side / width)
    if style == "yolox":
        return Inset(0, 0, max(int(width * scale), 1), max(int(height * scale), 1))
    inner_w, inner_h = max(round(width * scale), 1), max(round(height * scale), 1)
    left, top = round((side - inner_w) / 2 - 0.1), round((side - inner_h) / 2 - 0.1)
    return Inset(left, top, inner_w, inner_h)


def linear_letterbox(batch: Batch, side: int, style: Style) -> tuple[Tensor, list[Inset]]:
    """Return all images inside squares, (B, 3, side, side), uint8, and where they lie; cached."""

    def place() -> tuple[Tensor, list[Inset]]:
        insets = [inset(*size, side, style) for size in batch.sizes]
        squares = torch.full(
            (len(batch), 3, side, side), FILL, dtype=torch.uint8, device=batch.device
        )
        for square, one, pixels in zip(squares, insets, batch.pixels(), strict=True):
            bottom, right = one.top + one.height, one.left + one.width
            square[:, one.top : bottom, one.left : right] = linearly_resized(
                pixels, one.height, one.width
            )[0]
        return squares, insets

    return batch.shared(("linear letterbox", side, style), place)


def linearly_resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return RGB uint8 pixels, (1, 3, H, W), stretched as OpenCV does it by default."""
    size = (height, width)
    if pixels.shape[-2:] == size:
        return pixels
    floats = functional.interpolate(pixels.float(), size, mode="bilinear", align_corners=False)
    return floats.round_().to(torch.uint8)
