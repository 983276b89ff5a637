"""Pinhole camera behind a windshield, over a flat, slightly curved road.

Metres: x to the right of the camera, y up from the road, z ahead. Pixels: u right, v down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.demo.scene import HEIGHT, WIDTH

FOCAL_PX = 560.0  # 59 degrees horizontally, typical of dash-cams
HEIGHT_M = 1.4  # camera above the road


@dataclass(frozen=True)
class Camera:
    """Pose of the camera in one frame.

    Attributes:
        center_px: Column of the road's vanishing point.
        horizon_px: Row of the horizon.
        bend: Sideways shift of the road per squared meter ahead, 1/m.
    """

    center_px: float = WIDTH / 2
    horizon_px: float = HEIGHT * 0.46
    bend: float = 0.0

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Return the pixel (u, v) of a point; z must be positive."""
        scale = FOCAL_PX / z
        u = self.center_px + (x + self.bend * z * z) * scale
        return u, self.horizon_px + (HEIGHT_M - y) * scale

    def ground(self, points_xz: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixels, shape (N, 2), of points on the road given as (x, z), shape (N, 2)."""
        x, z = points_xz[:, 0], points_xz[:, 1]
        u = self.center_px + (x + self.bend * z * z) * FOCAL_PX / z
        return np.stack([u, self.horizon_px + HEIGHT_M * FOCAL_PX / z], axis=1)


def depth_of_rows(below_horizon_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance in meters of the road at rows below the horizon."""
    return HEIGHT_M * FOCAL_PX / np.maximum(below_horizon_px, 0.5)
