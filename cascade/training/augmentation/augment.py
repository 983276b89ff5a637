"""Random flips, crops, scales, colors and weather for images and their boxes.

Views are uint8 of shape (B, 3, H, W). A change is drawn first, as a value, and then applied to the
pixels (on any device) and to the boxes.
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
from cascade.training.augmentation.jpeg import jpeg_round_trip
from cascade.training.augmentation.noise import to_device
from cascade.training.augmentation.weather import blur, night, rain

Corners = tuple[float, float, float, float]  # relative `x1, y1, x2, y2`

_GRAY = 114.0  # padding around the image
_MIN_VISIBLE = 0.3  # share of a box's area inside the view; below it the box is dropped
_MIN_SIDE = 0.004  # relative to the view: about a pixel


@dataclass(frozen=True)
class Change:
    """Changes of one image.

    Attributes:
        window: Relative part `x1, y1, x2, y2` that fills the view; may exceed the image.
        flip: Whether left and right are swapped.
        gains: Factors of red, green and blue.
        contrast: Factor of the difference to the image's mean.
        saturation: Factor of the difference to each pixel's gray value.
        night: Darkness of the night, in [0, 1]; 0 for none.
        rain: Strength of the rain, in [0, 1]; 0 for none.
        blur: Standard deviation of the Gaussian blur in pixels; 0 for none.
        jpeg: JPEG quality, 1..100; None for no compression.
        seed: Random seed of noise and drops.
    """

    window: Corners = (0.0, 0.0, 1.0, 1.0)
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
    """Probability of each effect in a drawn change, in [0, 1]."""

    night: float = 0.0
    rain: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0


NO_EFFECTS = Effects()
STREET = Effects(night=0.1, rain=0.1, blur=0.1, jpeg=0.2)


def draw(
    rng: np.random.Generator, *, strength: float = 1.0, effects: Effects = NO_EFFECTS
) -> Change:
    """Return a random change; `strength` scales it, and 0 allows only a flip."""
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
    return change if effects == NO_EFFECTS else _draw_effects(change, rng, effects)


def apply(
    views: Tensor, targets: Sequence[Detections], changes: Sequence[Change]
) -> tuple[Tensor, list[Detections]]:
    """Return changed views and targets, one change per image; `UNCHANGED` keeps every bit.

    Boxes with less than 30 % of their area in the view are dropped, the others clipped.
    """
    changed = [i for i, change in enumerate(changes) if change != UNCHANGED]
    pixels = views
    if changed:
        rows = to_device(torch.tensor(changed), views.device)
        pixels = views.clone()
        pixels[rows] = _change_pixels(views[rows], [changes[i] for i in changed])
    moved = [_change_boxes(target, change) for target, change in zip(targets, changes, strict=True)]
    return pixels, moved


def crop(image: Image, target: Detections, window: Corners) -> tuple[Image, Detections]:
    """Return the part of an image in a relative window, and its target."""
    height, width = image.shape[:2]
    left, top = int(window[0] * width), int(window[1] * height)
    right, bottom = max(left + 1, round(window[2] * width)), max(top + 1, round(window[3] * height))
    aligned = (left / width, top / height, right / width, bottom / height)
    return image[top:bottom, left:right], _change_boxes(target, Change(window=aligned))


def mask_out(image: Image, windows: Sequence[Corners], *, keep: FloatArray) -> Image:
    """Return the image with `windows` grayed out, except inside the boxes `keep`; all relative."""
    masked = image.copy()
    for window in windows:
        masked[_slices(window, image)] = _GRAY
    for box in keep:
        masked[_slices(box, image)] = image[_slices(box, image)]
    return masked


def _slices(window: Sequence[float] | FloatArray, image: Image) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (min(max(float(value), 0.0), 1.0) for value in window)
    return (
        slice(int(y1 * height), round(y2 * height)),
        slice(int(x1 * width), round(x2 * width)),
    )


def _change_pixels(views: Tensor, changes: Sequence[Change]) -> Tensor:
    device = views.device

    def column(values: list[Any]) -> Tensor:
        return to_device(torch.tensor(values, dtype=torch.float32), device)

    theta = column([_affine_map(change) for change in changes])
    grid = functional.affine_grid(theta, list(views.shape), align_corners=False)
    pixels = functional.grid_sample(views.float() - _GRAY, grid, align_corners=False) + _GRAY
    saturation = column([change.saturation for change in changes])
    contrast = column([change.contrast for change in changes])
    gains = column([change.gains for change in changes])
    gray = pixels.mean(1, keepdim=True)
    pixels = torch.lerp(gray, pixels, saturation.view(-1, 1, 1, 1))
    mean = gray.mean((2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, contrast.view(-1, 1, 1, 1)) * gains[:, :, None, None]
    return _apply_effects(pixels, changes).round_().clamp_(0, 255).to(torch.uint8)


def _apply_effects(pixels: Tensor, changes: Sequence[Change]) -> Tensor:
    """Return the pixels with the night, rain, blur and JPEG of each change."""
    effects: dict[str, Callable[[Tensor, Tensor, list[int]], Tensor]] = {
        "night": night,
        "rain": rain,
        "blur": lambda batch, sigma, _: blur(batch, sigma),
        "jpeg": lambda batch, quality, _: jpeg_round_trip(batch, quality),
    }
    strengths = {name: [getattr(change, name) or 0 for change in changes] for name in effects}
    if not any(map(any, strengths.values())):
        return pixels
    pixels = pixels.clamp(0, 255)
    for name, effect in effects.items():
        affected = [i for i, strength in enumerate(strengths[name]) if strength]
        if affected:
            rows = to_device(torch.tensor(affected), pixels.device)
            amount = to_device(torch.tensor([strengths[name][i] for i in affected]), pixels.device)
            pixels[rows] = effect(pixels[rows], amount, [changes[i].seed for i in affected])
    return pixels


def _draw_effects(change: Change, rng: np.random.Generator, effects: Effects) -> Change:
    occurs = rng.random(4) < (effects.night, effects.rain, effects.blur, effects.jpeg)
    amount = rng.random(4)
    return replace(
        change,
        night=float(0.4 + 0.6 * amount[0]) if occurs[0] else 0.0,
        rain=float(0.3 + 0.7 * amount[1]) if occurs[1] else 0.0,
        blur=float(0.5 + 1.5 * amount[2]) if occurs[2] else 0.0,
        jpeg=int(20 + 60 * amount[3]) if occurs[3] else None,
        seed=int(rng.integers(1 << 31)),
    )


def _affine_map(change: Change) -> list[list[float]]:
    """Return the affine map from view to source coordinates, both in [-1, 1]."""
    x1, y1, x2, y2 = change.window
    width = x1 - x2 if change.flip else x2 - x1
    return [[width, 0.0, x1 + x2 - 1], [0.0, y2 - y1, y1 + y2 - 1]]


def _change_boxes(target: Detections, change: Change) -> Detections:
    if change == UNCHANGED or not len(target):
        return target
    x1, y1, x2, y2 = change.window
    sides = np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    moved = (target.boxes_xyxy.astype(np.float64) - np.array([x1, y1, x1, y1])) / sides
    if change.flip:
        moved[:, [0, 2]] = 1 - moved[:, [2, 0]]
    inside = moved.clip(0, 1)
    visible = inside[:, 2:] - inside[:, :2]
    share = visible.prod(1) / np.maximum((moved[:, 2:] - moved[:, :2]).prod(1), 1e-12)
    keep = (share >= _MIN_VISIBLE) & (visible >= _MIN_SIDE).all(1)
    return replace(target[keep], boxes_xyxy=inside[keep].astype(np.float32))
