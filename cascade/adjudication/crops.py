"""Places in an image, and close-ups of them. A region is relative corners `x1, y1, x2, y2`."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from cascade.imaging.batches import Image

Region = tuple[float, float, float, float]

ROUNDABOUT = 1.6  # a crop's side over that of its box: what stands around tells what it is
LEAST_SIDE = 0.05  # of the image: a crop around a tiny box still shows where it stands
CLOSE_UP_PX = 448  # the shorter side is brought up to this: below, a vision model sees few patches
MOST_ENLARGED = 8.0  # beyond, there is nothing but blur


def around(xyxy: Region) -> Region:
    """Return a region around a box, within the image."""
    low, high = np.array(xyxy[:2]), np.array(xyxy[2:])
    half = np.maximum((high - low) * ROUNDABOUT, LEAST_SIDE) / 2
    centre = (low + high) / 2
    return clipped(np.concatenate([centre - half, centre + half]))


def clipped(xyxy: ArrayLike) -> Region:
    """Return the part of a box that lies in the image."""
    x1, y1, x2, y2 = np.clip(np.asarray(xyxy, np.float64).ravel(), 0.0, 1.0).tolist()
    return x1, y1, x2, y2


def holds(region: Region, xyxy: Region) -> bool:
    """Return whether the centre of a box lies in a region."""
    x, y = (xyxy[0] + xyxy[2]) / 2, (xyxy[1] + xyxy[3]) / 2
    return region[0] <= x <= region[2] and region[1] <= y <= region[3]


def cut(image: Image, region: Region) -> Image:
    """Return the pixels of a region: at least one, whatever the region."""
    height, width = image.shape[:2]
    x1, y1 = min(int(region[0] * width), width - 1), min(int(region[1] * height), height - 1)
    x2, y2 = int(np.ceil(region[2] * width)), int(np.ceil(region[3] * height))
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def close_up(image: Image, region: Region) -> Image:
    """Return a region enlarged, so that a vision model can tell what is there."""
    crop = cut(image, region)
    height, width = crop.shape[:2]
    scale = min(CLOSE_UP_PX / min(height, width), MOST_ENLARGED)
    if scale <= 1:
        return crop
    size = round(width * scale), round(height * scale)
    enlarged: Image = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    return enlarged
