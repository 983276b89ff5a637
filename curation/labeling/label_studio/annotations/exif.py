"""Conversion of points and masks from the stored to the upright image, by EXIF orientation.

| orientation | operation on the stored image                        |
|-------------|------------------------------------------------------|
| 1           | none                                                 |
| 2, 3, 4     | mirror left to right, rotate by 180°, flip vertically|
| 5, 7        | transpose, and transpose with both axes mirrored     |
| 6, 8        | rotate by 90° clockwise, and counterclockwise        |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SWAPPED = (5, 6, 7, 8)
_MIRRORED_X = (2, 3, 6, 7)  # after swapping the axes
_MIRRORED_Y = (3, 4, 7, 8)


def swaps_axes(orientation: int) -> bool:
    """Return whether the orientation swaps width and height."""
    return orientation in _SWAPPED


def upright_points(points_xy: Points, orientation: int) -> Points:
    """Return relative points of the stored image, shape (N, 2), as points of the upright one."""
    points = points_xy[:, ::-1].copy() if swaps_axes(orientation) else points_xy.copy()
    if orientation in _MIRRORED_X:
        points[:, 0] = 1.0 - points[:, 0]
    if orientation in _MIRRORED_Y:
        points[:, 1] = 1.0 - points[:, 1]
    return points


def upright_mask(mask: Mask, orientation: int) -> Mask:
    """Return a mask of the stored image, shape (H, W), as a mask of the upright image."""
    upright: NDArray[Any] = mask.T if swaps_axes(orientation) else mask
    if orientation in _MIRRORED_X:
        upright = upright[:, ::-1]
    if orientation in _MIRRORED_Y:
        upright = upright[::-1]
    return upright
