"""Drawing of an upright object at metric size, in perspective.

A pen draws in meters relative to the foot of the object: x to the right, y up, z away from the
camera. It supersamples and downscales, for realistic edges even at seven pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.demo.camera import FOCAL_PX, HEIGHT_M
from curation.demo.conditions import Conditions
from curation.demo.domain import Color
from curation.demo.grain import weather_beaten
from curation.demo.scene import HEIGHT, WIDTH

Point = tuple[float, float] | tuple[float, float, float]
Surface = Literal["dull", "retro", "shining"]
"""Retro surfaces throw headlights back at whoever has them on; shining ones need no light."""

_SUBPIXEL_BITS = 4  # OpenCV polygon corners in sixteenths of a pixel
_MARGIN_PX = 2
_HALF_COVERED = 127
_COARSE_PX_PER_M = 12.0
_PLAIN_PX = 20  # smaller objects get no grain


@dataclass(frozen=True, eq=False)
class Patch:
    """A drawn object, ready for blending.

    Attributes:
        left, top: Position in the image in pixels; may be outside.
        rgb: Color times opacity, uint8, shape (h, w, 3).
        alpha: Opacity, uint8, shape (h, w).
        box_xyxy_px: Unclipped outline in the image.
    """

    left: int
    top: int
    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    box_xyxy_px: tuple[float, float, float, float]


class Pen:
    """Draws one object; `patch` returns the result.

    Args:
        foot_px: Foot of the object in the image (u, v).
        depth_m: Distance of the object.
        lateral_m: Offset to the right of the camera, which determines the visible sides.
        extent_m: Extent around the foot: left, right, bottom, top.
        base_m: Height of the foot above the road.
        conditions: Lighting and visibility.
        grain: Offset into the grain, in [0, 1).
        clipped: Whether to draw only the part inside the image; the outline is then clipped too.
    """

    def __init__(
        self,
        *,
        foot_px: tuple[float, float],
        depth_m: float,
        lateral_m: float,
        extent_m: tuple[float, float, float, float],
        base_m: float,
        conditions: Conditions,
        grain: float,
        clipped: bool = False,
    ) -> None:
        self._scale = FOCAL_PX / depth_m
        self._depth = depth_m
        self._vanishing = (-lateral_m, HEIGHT_M - base_m)
        left, right, bottom, top = extent_m
        u, v = foot_px
        x0, x1 = u + left * self._scale - _MARGIN_PX, u + right * self._scale + _MARGIN_PX
        y0, y1 = v - top * self._scale - _MARGIN_PX, v - bottom * self._scale + _MARGIN_PX
        if clipped:
            x0, x1, y0, y1 = max(x0, 0), min(x1, WIDTH), max(y0, 0), min(y1, HEIGHT)
        self._left, self._top = int(np.floor(x0)), int(np.floor(y0))
        self._w = max(int(np.ceil(x1)) - self._left, 1)
        self._h = max(int(np.ceil(y1)) - self._top, 1)
        size = max(self._w, self._h)
        self._fine = 4 if size < 40 else 3 if size < 80 else 2 if size < 180 else 1
        self._origin = ((u - self._left) * self._fine, (v - self._top) * self._fine)
        self._canvas = np.zeros((self._h * self._fine, self._w * self._fine, 4), np.uint8)
        self._roundness = 0.0
        self._grain, self._roughness = grain, 0.22
        self.lights: list[tuple[float, float, float, Color]] = []
        self._set_light(conditions, lateral_m)

    @property
    def coarse(self) -> bool:
        """Whether the scale is too coarse for details."""
        return self._scale < _COARSE_PX_PER_M

    def fill(self, points: Sequence[Point], color: Color, *, surface: Surface = "dull") -> None:
        """Fill a polygon."""
        corners, shade = self._pixels(points), self._lit(color, surface)
        cv2.fillPoly(self._canvas, [corners], shade, cv2.LINE_AA, _SUBPIXEL_BITS)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        color: Color,
        surface: Surface = "dull",
    ) -> None:
        """Fill an upright rectangle."""
        self.fill(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), color, surface=surface)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, color: Color, *, surface: Surface = "dull"
    ) -> None:
        """Fill an ellipse around (x, y)."""
        center = self._pixels([(x, y)])[0]
        fine = self._scale * self._fine * (1 << _SUBPIXEL_BITS)
        axes = (max(int(rx * fine), 1), max(int(ry * fine), 1))
        cv2.ellipse(
            self._canvas,
            (int(center[0]), int(center[1])),
            axes,
            0,
            0,
            360,
            self._lit(color, surface),
            -1,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )

    def limb(self, points: Sequence[Point], width: float, color: Color) -> None:
        """Draw a line of metric width with round ends."""
        thick = max(round(width * self._scale * self._fine), 1)
        cv2.polylines(
            self._canvas,
            [self._pixels(points)],
            False,
            self._lit(color, "dull"),
            thick,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )

    def light(self, x: float, y: float, radius: float, color: Color) -> None:
        """Draw a lamp and record its glow."""
        self.ellipse(x, y, radius, radius, color, surface="shining")
        point = self._pixels([(x, y)])[0] / (1 << _SUBPIXEL_BITS) / self._fine
        self.lights.append(
            (self._left + point[0], self._top + point[1], radius * self._scale, color)
        )

    def round_off(self, strength: float) -> None:
        """Darken the sides, as on a cylinder."""
        self._roundness = strength

    def roughen(self, roughness: float) -> None:
        """Set the roughness of the surface; 1 for asphalt."""
        self._roughness = roughness

    def patch(self) -> Patch:
        """Return the drawn patch."""
        outline = cv2.boundingRect((self._canvas[..., 3] > _HALF_COVERED).view(np.uint8))
        small = self._canvas
        if self._fine > 1:
            small = cv2.resize(small, (self._w, self._h), interpolation=cv2.INTER_AREA)
        rgb = np.ascontiguousarray(small[..., :3])
        x0, y0 = self._left + outline[0] / self._fine, self._top + outline[1] / self._fine
        x1, y1 = x0 + outline[2] / self._fine, y0 + outline[3] / self._fine
        if self._roundness:
            rgb = self._rounded(rgb, x0 - self._left, x1 - self._left)
        if min(self._w, self._h) > _PLAIN_PX:
            rgb = weather_beaten(rgb, self._roughness, self._grain, self._clear)
        alpha = np.ascontiguousarray(small[..., 3])
        return Patch(self._left, self._top, rgb, alpha, (x0, y0, x1, y1))

    def _rounded(self, rgb: NDArray[np.uint8], x0: float, x1: float) -> NDArray[np.uint8]:
        across = (np.arange(rgb.shape[1]) + 0.5 - x0) / max(x1 - x0, 1.0)
        side = self._sun * 0.35 + 0.5  # the brightest part faces the sun
        away = np.clip(np.abs(across - side), 0, 0.6) ** 1.6
        dark = 1 + self._clear * (0.12 - self._roundness * 2.2 * away)
        return np.clip(rgb * dark[None, :, None], 0, 255).astype(np.uint8)

    def _pixels(self, points: Sequence[Point]) -> NDArray[np.int32]:
        """Return corners in fixed-point pixels of the canvas, shape (N, 2)."""
        fine = self._scale * self._fine
        unit = 1 << _SUBPIXEL_BITS
        out = np.empty((len(points), 2), np.int32)
        for i, point in enumerate(points):
            x, y = point[0], point[1]
            if len(point) == 3:
                x, y = self._towards_vanishing(x, y, point[2])
            out[i, 0] = round((self._origin[0] + x * fine) * unit)
            out[i, 1] = round((self._origin[1] - y * fine) * unit)
        return out

    def _towards_vanishing(self, x: float, y: float, z: float) -> tuple[float, float]:
        nearness = self._depth / (self._depth + z)
        vx, vy = self._vanishing
        return vx + (x - vx) * nearness, vy + (y - vy) * nearness

    def _set_light(self, conditions: Conditions, lateral_m: float) -> None:
        beam = conditions.beam(self._depth, lateral_m / self._depth)
        back = conditions.beam(self._depth * 0.45, lateral_m / self._depth) * 1.6
        self._clear = conditions.clearness(self._depth)
        self._haze = conditions.haze
        red, green, blue = conditions.ambient
        self._light: dict[Surface, tuple[float, float, float]] = {
            "dull": (red + beam, green + beam, blue + beam),
            "retro": (red + back, green + back, blue + back),
            "shining": (1.0, 1.0, 1.0),
        }
        self.night = conditions.night
        self._sun = conditions.sun

    def _lit(self, color: Color, surface: Surface) -> tuple[float, float, float, float]:
        clear, hazy = self._clear, 1 - self._clear
        red, green, blue = (
            min(part * light, 255.0) * clear + fade * hazy
            for part, light, fade in zip(color, self._light[surface], self._haze, strict=True)
        )
        return red, green, blue, 255.0
