"""Changed copies of images and their boxes: flipped, cut, scaled, in other light and weather.

Views are uint8 of shape (B, 3, H, W); what happens to an image is drawn first, as a value,
so that pixels (on any device) and boxes follow the same drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cascade.arrays import FloatArray
from cascade.imaging.batches import Image
from cascade.predictions import Detections
from cascade.training.augmentation.jpeg import compressed
from cascade.training.augmentation.noise import on_device
from cascade.training.augmentation.weather import blur, night, rain

_GREY = 114.0  # what lies beyond the image
_LEAST_LEFT = 0.3  # of a box's area inside the view, below which it is dropped
_LEAST_SIDE = 0.004  # of the view's side: about a pixel


@dataclass(frozen=True)
class Change:
    """What happens to one image.

    Attributes:
        window: The part `x1, y1, x2, y2` that fills the view, relative; may reach beyond.
        flip: Whether left and right change places.
        gains: Factor of red, green and blue.
        contrast: Factor of the distance to the image's mean.
        saturation: Factor of the distance to each pixel's own grey.
        night: How dark a night it becomes, in [0, 1]; 0 for none.
        rain: How heavy a rain falls, in [0, 1]; 0 for none.
        blur: How far out of focus it is: the Gaussian's sigma in pixels; 0 for not at all.
        jpeg: The quality that it is compressed with, 1..100; None for not at all.
        seed: Of noise and drops.
    """

    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    night: float = 0.0
    rain: float = 0.0
    blur: float = 0.0
    jpeg: int | None = None
    seed: int = 0


UNCHANGED = Change()


@dataclass(frozen=True)
class Effects:
    """How probable each effect is in a drawn change, in [0, 1]."""

    night: float = 0.0
    rain: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0


NO_EFFECTS = Effects()
STREET = Effects(night=0.1, rain=0.1, blur=0.1, jpeg=0.2)


def draw(
    rng: np.random.Generator, *, strength: float = 1.0, effects: Effects = NO_EFFECTS
) -> Change:
    """Return a random change; `strength` scales how far it goes, 0 for a flip at most."""
    scale = np.exp(rng.uniform(-0.45, 0.2) * strength)
    width, height = scale * np.exp(rng.uniform(-0.1, 0.1, 2) * strength)
    left, top = (1 - width) * rng.random(), (1 - height) * rng.random()
    brightness = np.exp(rng.uniform(-0.35, 0.3) * strength)
    red, green, blue = brightness * np.exp(rng.uniform(-0.08, 0.08, 3) * strength)
    change = Change(
        window=(left, top, left + width, top + height),
        flip=bool(rng.random() < 0.5),
        gains=(red, green, blue),
        contrast=float(np.exp(rng.uniform(-0.3, 0.3) * strength)),
        saturation=float(np.exp(rng.uniform(-0.5, 0.3) * strength)),
    )
    return change if effects == NO_EFFECTS else _with_effects(change, rng, effects)


def apply(
    views: Tensor, targets: Sequence[Detections], changes: Sequence[Change]
) -> tuple[Tensor, list[Detections]]:
    """Return changed views and targets, one change an image; unchanged ones stay bit for bit.

    Boxes of which less than 30 % remain in the view are dropped, the others clipped.
    """
    touched = [i for i, change in enumerate(changes) if change != UNCHANGED]
    pixels = views
    if touched:
        rows = on_device(torch.tensor(touched), views.device)
        pixels = views.clone()
        pixels[rows] = _pixels(views[rows], [changes[i] for i in touched])
    boxes = [_boxes(one, change) for one, change in zip(targets, changes, strict=True)]
    return pixels, boxes


def cut_out(
    image: Image, target: Detections, window: tuple[float, float, float, float]
) -> tuple[Image, Detections]:
    """Return the part of an image in a window `x1, y1, x2, y2`, and what is to be found there."""
    height, width = image.shape[:2]
    left, top = int(window[0] * width), int(window[1] * height)
    right, bottom = max(left + 1, round(window[2] * width)), max(top + 1, round(window[3] * height))
    whole = (left / width, top / height, right / width, bottom / height)
    return image[top:bottom, left:right], _boxes(target, Change(window=whole))


def paint_over(
    image: Image, windows: Sequence[tuple[float, float, float, float]], *, kept: FloatArray
) -> Image:
    """Return the image, grey in some windows but as it was in the boxes `kept`; all relative."""
    painted = image.copy()
    for window in windows:
        painted[_pixels_of(window, image)] = _GREY
    for box in kept:
        inside = _pixels_of(box, image)
        painted[inside] = image[inside]
    return painted


def _pixels_of(window: Sequence[float] | FloatArray, image: Image) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (min(max(float(one), 0.0), 1.0) for one in window)
    return (
        slice(int(y1 * height), round(y2 * height)),
        slice(int(x1 * width), round(x2 * width)),
    )


def _pixels(views: Tensor, changes: Sequence[Change]) -> Tensor:
    device = views.device

    def column(values: list[Any]) -> Tensor:
        return on_device(torch.tensor(values, dtype=torch.float32), device)

    theta = column([_theta(one) for one in changes])
    grid = functional.affine_grid(theta, list(views.shape), align_corners=False)
    pixels = functional.grid_sample(views.float() - _GREY, grid, align_corners=False) + _GREY
    saturation = column([one.saturation for one in changes])
    contrast = column([one.contrast for one in changes])
    gains = column([one.gains for one in changes])
    grey = pixels.mean(1, keepdim=True)
    pixels = torch.lerp(grey, pixels, saturation.view(-1, 1, 1, 1))
    mean = grey.mean((2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, contrast.view(-1, 1, 1, 1)) * gains[:, :, None, None]
    return _affected(pixels, changes).round_().clamp_(0, 255).to(torch.uint8)


def _affected(pixels: Tensor, changes: Sequence[Change]) -> Tensor:
    """Return the pixels with night, rain, blur and JPEG on those images that have them."""
    if not any(one.night or one.rain or one.blur or one.jpeg for one in changes):
        return pixels
    pixels = pixels.clamp(0, 255)

    def on(
        strengths: Sequence[float], effect: Callable[[Tensor, Tensor, list[int]], Tensor]
    ) -> None:
        touched = [i for i, one in enumerate(strengths) if one]
        if touched:
            rows = on_device(torch.tensor(touched), pixels.device)
            amount = on_device(torch.tensor([strengths[i] for i in touched]), pixels.device)
            pixels[rows] = effect(pixels[rows], amount, [changes[i].seed for i in touched])

    on([one.night for one in changes], night)
    on([one.rain for one in changes], rain)
    on([one.blur for one in changes], lambda some, sigma, _: blur(some, sigma))
    on([one.jpeg or 0 for one in changes], lambda some, quality, _: compressed(some, quality))
    return pixels


def _with_effects(change: Change, rng: np.random.Generator, effects: Effects) -> Change:
    happens = rng.random(4) < (effects.night, effects.rain, effects.blur, effects.jpeg)
    amount = rng.random(4)
    return replace(
        change,
        night=float(0.4 + 0.6 * amount[0]) if happens[0] else 0.0,
        rain=float(0.3 + 0.7 * amount[1]) if happens[1] else 0.0,
        blur=float(0.5 + 1.5 * amount[2]) if happens[2] else 0.0,
        jpeg=int(20 + 60 * amount[3]) if happens[3] else None,
        seed=int(rng.integers(1 << 31)),
    )


def _theta(change: Change) -> list[list[float]]:
    """Return the affine map from places in the view to places in the source, in [-1, 1]."""
    x1, y1, x2, y2 = change.window
    across = x1 - x2 if change.flip else x2 - x1
    return [[across, 0.0, x1 + x2 - 1], [0.0, y2 - y1, y1 + y2 - 1]]


def _boxes(target: Detections, change: Change) -> Detections:
    if change == UNCHANGED or not len(target):
        return target
    x1, y1, x2, y2 = change.window
    sides = np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    moved = (target.boxes_xyxy.astype(np.float64) - np.array([x1, y1, x1, y1])) / sides
    if change.flip:
        moved[:, [0, 2]] = 1 - moved[:, [2, 0]]
    inside = moved.clip(0, 1)
    left = inside[:, 2:] - inside[:, :2]
    share = left.prod(1) / np.maximum((moved[:, 2:] - moved[:, :2]).prod(1), 1e-12)
    keep = (share >= _LEAST_LEFT) & (left >= _LEAST_SIDE).all(1)
    return Detections(
        boxes_xyxy=inside[keep].astype(np.float32),
        scores=target.scores[keep],
        class_ids=target.class_ids[keep],
        classes=target.classes,
    )
