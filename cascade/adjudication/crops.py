"""Regions of an image and their crops. A region is relative corners `x1, y1, x2, y2`."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from cascade.imaging.batches import Image

Region = tuple[float, float, float, float]

CONTEXT = 1.6  # side of a crop relative to its box; the surroundings help to identify the object
MIN_SIDE = 0.05  # relative to the image: the crop of a tiny box still shows its surroundings
CLOSE_UP_PX = 448  # shorter side of an enlarged crop; a vision model sees few patches below it
MAX_SCALE = 8.0  # larger scales only add blur


def region_around(xyxy: Region) -> Region:
    """Return a region around a box, within the image."""
    low, high = np.array(xyxy[:2]), np.array(xyxy[2:])
    half = np.maximum((high - low) * CONTEXT, MIN_SIDE) / 2
    center = (low + high) / 2
    return clip(np.concatenate([center - half, center + half]))


def clip(xyxy: ArrayLike) -> Region:
    """Return the part of a box inside the image."""
    x1, y1, x2, y2 = np.clip(np.asarray(xyxy, np.float64).ravel(), 0.0, 1.0).tolist()
    return x1, y1, x2, y2


def contains_center(region: Region, xyxy: Region) -> bool:
    """Return whether the center of a box is in a region."""
    x, y = (xyxy[0] + xyxy[2]) / 2, (xyxy[1] + xyxy[3]) / 2
    return region[0] <= x <= region[2] and region[1] <= y <= region[3]


def crop(image: Image, region: Region) -> Image:
    """Return the pixels of a region, at least one."""
    height, width = image.shape[:2]
    x1, y1 = min(int(region[0] * width), width - 1), min(int(region[1] * height), height - 1)
    x2, y2 = int(np.ceil(region[2] * width)), int(np.ceil(region[3] * height))
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def close_up(image: Image, region: Region) -> Image:
    """Return a region, enlarged for a vision model."""
    pixels = crop(image, region)
    height, width = pixels.shape[:2]
    scale = min(CLOSE_UP_PX / min(height, width), MAX_SCALE)
    if scale <= 1:
        return pixels
    size = round(width * scale), round(height * scale)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8)
