"""From the stored to the upright image: what an EXIF orientation does to places and masks.

| orientation | the stored image is shown                             |
|-------------|-------------------------------------------------------|
| 1           | as it is                                              |
| 2, 3, 4     | mirrored left to right, turned by 180°, upside down   |
| 5, 7        | with its axes swapped, and with both mirrored as well |
| 6, 8        | turned by 90° clockwise, and counterclockwise         |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SWAPPED = (5, 6, 7, 8)
_MIRRORED_X = (2, 3, 6, 7)  # after the axes were swapped
_MIRRORED_Y = (3, 4, 7, 8)


def swaps_axes(orientation: int) -> bool:
    """Return whether the upright image is as wide as the stored one is high."""
    return orientation in _SWAPPED


def upright_points(points_xy: Points, orientation: int) -> Points:
    """Return relative places of the stored image, shape (N, 2), as places of the upright one."""
    points = points_xy[:, ::-1].copy() if swaps_axes(orientation) else points_xy.copy()
    if orientation in _MIRRORED_X:
        points[:, 0] = 1.0 - points[:, 0]
    if orientation in _MIRRORED_Y:
        points[:, 1] = 1.0 - points[:, 1]
    return points


def upright_mask(mask: Mask, orientation: int) -> Mask:
    """Return a mask of the stored image, shape (H, W), as one of the upright image."""
    turned: NDArray[Any] = mask.T if swaps_axes(orientation) else mask
    if orientation in _MIRRORED_X:
        turned = turned[:, ::-1]
    if orientation in _MIRRORED_Y:
        turned = turned[::-1]
    return turned
