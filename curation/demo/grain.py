"""Reusable noise texture of surfaces: asphalt, walls, leaves."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 256  # pixels, each way
_OCTAVES = ((256, 16.0), (64, 14.0), (16, 12.0), (4, 10.0))  # cells across, gray levels
_SHEET_TILES = (3, 4)


@lru_cache(maxsize=1)
def tile() -> NDArray[np.uint8]:
    """Return gray grain around 128 that repeats seamlessly, shape (TILE, TILE)."""
    rng = np.random.default_rng(7)
    total = np.zeros((TILE, TILE))
    for cells, weight in _OCTAVES:
        coarse = np.pad(rng.normal(size=(cells, cells)), 1, mode="wrap").astype(np.float32)
        step = TILE // cells
        smooth = cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += weight * smooth[step : step + TILE, step : step + TILE]
    return np.clip(128 + total, 0, 255).astype(np.uint8)


def weather_beaten(
    rgb: NDArray[np.uint8], roughness: float, start: float, clear: float
) -> NDArray[np.uint8]:
    """Return a surface with grain, darker toward the bottom.

    Args:
        rgb: Colors, shape (h, w, 3).
        roughness: Contrast of the grain; 1 for asphalt.
        start: Offset into the grain, in [0, 1).
        clear: Share of the contrast that the haze leaves, in [0, 1].
    """
    h, w = rgb.shape[:2]
    sheet = _sheet()
    top, left = (int(start * max(room, 1)) for room in (sheet.shape[0] - h, sheet.shape[1] - w))
    grain = sheet[top : top + h, left : left + w]
    if grain.shape != (h, w):
        grain = cv2.resize(sheet, (w, h))
    roughness *= clear
    factor = cv2.convertScaleAbs(grain, alpha=roughness, beta=128 * (1 - roughness))
    gradient = np.linspace(128 + 10 * clear, 128 - 14 * clear, h, dtype=np.float32).astype(np.uint8)
    factor = cv2.multiply(factor, np.repeat(gradient[:, None], w, axis=1), scale=1 / 128)
    return cv2.multiply(rgb, cv2.merge([factor] * 3), scale=1 / 128)


@lru_cache(maxsize=1)
def _sheet() -> NDArray[np.uint8]:
    return np.tile(tile(), _SHEET_TILES)
