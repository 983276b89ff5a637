"""Effects of weather, lens and sensor on an image."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.demo.conditions import Conditions
from curation.demo.frame import Glow, Image
from curation.demo.scene import HEIGHT, WIDTH
from curation.demo.thing import Rng

_GRAIN_ROWS, _GRAIN_COLUMNS = HEIGHT + 160, WIDTH + 160
_SENSOR_STEP = 32.0  # standard deviation of the stored grain in gray levels


class Lens:
    """The camera of one drive."""

    def __init__(self, conditions: Conditions, rng: Rng) -> None:
        self._conditions = conditions
        self._falloff = _vignette(float(rng.uniform(0.05, 0.3)))
        self._curve = _curve(conditions)
        self._flare = _flare(conditions, rng) if conditions.weather == "glare" else None
        self._drops = _drops(rng) if conditions.wet else None

    def take(self, image: Image, glows: list[Glow], rng: Rng) -> Image:
        """Return the ideal image as the camera records it."""
        conditions = self._conditions
        _spill(image, glows, conditions)
        if self._flare is not None:
            image = cv2.add(image, self._flare)
        if conditions.wet:
            image = _rain(image, conditions, rng)
        if self._drops is not None:
            blurred = cv2.blur(image, (13, 13))
            image = np.where(self._drops[..., None], blurred, image)
        if conditions.blur_px > 1:
            image = cv2.blur(image, (conditions.blur_px, 1 + conditions.blur_px // 3))
        image = cv2.multiply(image, self._falloff, scale=1 / 255)
        image = cv2.LUT(image, self._curve)
        image = _noise(image, conditions.noise, rng)
        return _compressed(image, conditions.jpeg)


def _spill(image: Image, glows: list[Glow], conditions: Conditions) -> None:
    """Add the glow of lamps, and its streak on a wet road."""
    veil = {"clear": 1.0, "glare": 1.5, "rain": 1.3, "fog": 1.7}[conditions.weather]
    reach, strength = (6.0, 0.75) if conditions.night else (2.2, 0.35)
    for u, v, radius, color in glows:
        r = min(max(radius * reach * veil, 3.0), 70.0)
        _add_blob(image, u, v, r, r, color, strength)
        if conditions.night and conditions.wet and r > 4:
            _add_blob(image, u, v + r * 3, r * 0.35, r * 2.4, color, strength * conditions.wet)


def _add_blob(
    image: Image, u: float, v: float, rx: float, ry: float, color: tuple[int, int, int],
    strength: float,
) -> None:  # fmt: skip
    w, h = max(int(2 * rx), 3), max(int(2 * ry), 3)
    left, top = round(u - w / 2), round(v - h / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + w, WIDTH), min(top + h, HEIGHT)
    if x0 >= x1 or y0 >= y1:
        return
    blob = cv2.resize(_blob(), (w, h), interpolation=cv2.INTER_AREA)
    part = blob[y0 - top : y1 - top, x0 - left : x1 - left]
    tinted = cv2.merge([cv2.convertScaleAbs(part, alpha=c / 255 * strength) for c in color])
    spot = image[y0:y1, x0:x1]
    spot[:] = cv2.add(spot, tinted)


@lru_cache(maxsize=1)
def _blob() -> Image:
    """Return a soft round spot, 64 x 64."""
    at = (np.arange(64) - 31.5) / 32
    away = np.hypot(at[:, None], at[None, :])
    return (255 * np.clip(1 - away, 0, 1) ** 2.2).astype(np.uint8)


def _flare(conditions: Conditions, rng: Rng) -> Image:
    """Return the flare of a low sun or of oncoming headlights."""
    small = 4
    u = (0.5 + 0.42 * conditions.sun) * WIDTH if not conditions.night else rng.uniform(120, 420)
    v = rng.uniform(40, 120) if not conditions.night else rng.uniform(165, 190)
    x = (np.arange(WIDTH // small) * small - u)[None, :]
    y = (np.arange(HEIGHT // small) * small - v)[:, None]
    away = np.hypot(x, y)
    wide, floor = (230.0, 0.2) if not conditions.night else (90.0, 0.04)
    light = 1.25 * np.exp(-away / (wide * 0.28)) + 0.62 * np.exp(-away / wide) + floor
    light += 0.12 * np.exp(-np.abs(x * 0.35 - y) / 9) * np.exp(-away / (wide * 1.5))
    tint = np.array([255.0, 238.0, 204.0]) * (0.75 if conditions.night else 0.7)
    coarse = np.clip(light[..., None] * tint, 0, 255).astype(np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def _drops(rng: Rng) -> NDArray[np.bool_]:
    """Return the mask of drops on the windshield."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(int(rng.integers(6, 40))):
        center = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
        axes = int(rng.integers(2, 7)), int(rng.integers(3, 10))
        cv2.ellipse(mask, center, axes, 0, 0, 360, 255, -1)
    return mask > 0


def _rain(image: Image, conditions: Conditions, rng: Rng) -> Image:
    """Draw streaks of falling rain."""
    layer = np.zeros((HEIGHT, WIDTH), np.uint8)
    count = int(rng.integers(150, 330))
    start = rng.uniform((-20, -30), (WIDTH + 20, HEIGHT), (count, 2))
    long = rng.uniform(5, 24, count)
    lean = rng.normal(0.0, 0.12)
    ends = start + np.stack([lean * long, long], axis=1)
    lines = np.stack([start, ends], axis=1).round().astype(np.int32)
    cv2.polylines(layer, list(lines), False, 40 if conditions.night else 62, 1, cv2.LINE_AA)
    layer = cv2.blur(layer, (1, 4))
    return cv2.add(image, cv2.merge([layer] * 3))


def _vignette(strength: float) -> Image:
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32)
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    gray = (255 - 127 * strength * (x * x + y * y)).astype(np.uint8)
    return cv2.merge([gray] * 3)


def _curve(conditions: Conditions) -> Image:
    """Return the sensor's response per channel, shape (1, 256, 3)."""
    level = np.arange(256)[:, None] / 255 * np.array(conditions.gain)
    soft = level / (1 + np.maximum(level - 0.82, 0) * 0.8)
    return np.clip(soft * 255, 0, 255).astype(np.uint8)[None]


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.float32]:
    """Return a grain texture; each frame uses a random window, since drawing noise is slow."""
    rng = np.random.default_rng(11)
    fine = rng.normal(0, 1, (_GRAIN_ROWS, _GRAIN_COLUMNS, 3))
    shared = rng.normal(0, 1, (_GRAIN_ROWS, _GRAIN_COLUMNS, 1))
    mixed = 0.6 * fine + 0.8 * shared
    return (mixed * _SENSOR_STEP + 128).clip(0, 255).astype(np.uint8)


def _noise(image: Image, deviation: float, rng: Rng) -> Image:
    top, left = int(rng.integers(160)), int(rng.integers(160))
    window = _grain()[top : top + HEIGHT, left : left + WIDTH]
    weight = deviation / _SENSOR_STEP
    return cv2.addWeighted(image, 1.0, window, weight, -128 * weight)


def _compressed(image: Image, quality: int) -> Image:
    if not quality:
        return image
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Image | None = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image if decoded is None else decoded
