"""A pinhole camera behind a windscreen, over a flat and gently bending road.

Metres: x to the right of the camera, y up from the road, z ahead. Pixels: u right, v down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.demo.scene import HEIGHT, WIDTH

FOCAL_PX = 560.0  # 59 degrees across, as common dash-cams have
HEIGHT_M = 1.4  # of the camera over the road


@dataclass(frozen=True)
class Camera:
    """Where the camera looks in one frame.

    Attributes:
        centre_px: Column of the road's vanishing point.
        horizon_px: Row of the horizon.
        bend: Sideways shift of the road per squared metre ahead, 1/m.
    """

    centre_px: float = WIDTH / 2
    horizon_px: float = HEIGHT * 0.46
    bend: float = 0.0

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Return the pixel (u, v) of a point; z must be positive."""
        scale = FOCAL_PX / z
        u = self.centre_px + (x + self.bend * z * z) * scale
        return u, self.horizon_px + (HEIGHT_M - y) * scale

    def ground(self, points_xz: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return pixels, shape (N, 2), of points on the road given as (x, z), shape (N, 2)."""
        x, z = points_xz[:, 0], points_xz[:, 1]
        u = self.centre_px + (x + self.bend * z * z) * FOCAL_PX / z
        return np.stack([u, self.horizon_px + HEIGHT_M * FOCAL_PX / z], axis=1)


def depth_of_rows(below_horizon_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance in metres of road that is seen so far below the horizon."""
    return HEIGHT_M * FOCAL_PX / np.maximum(below_horizon_px, 0.5)
