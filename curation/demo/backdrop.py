"""Background of a scene: sky, skyline, road and verge."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.demo.camera import FOCAL_PX, Camera, depth_of_rows
from curation.demo.conditions import Conditions
from curation.demo.domain import Color
from curation.demo.grain import TILE, tile
from curation.demo.road import Line, Road
from curation.demo.scene import HEIGHT, WIDTH
from curation.demo.thing import Rng, dim

Image = NDArray[np.uint8]

_SIDE = 48  # spare columns on both sides for camera shake
_SKY_ROWS, _GROUND_ROWS = 210, 230
_TEXELS_PER_M = 28.0
_NEAR_M, _FAR_M = 2.4, 400.0
_DASH_M, _PITCH_M = 3.0, 12.0
_PAINT_SEEN_M = 90.0
_BITS = 4


class Backdrop:
    """Painter of the empty road of one drive."""

    def __init__(self, road: Road, conditions: Conditions, rng: Rng) -> None:
        self._road = road
        self._sky = _sky(conditions, rng)
        below = np.arange(_GROUND_ROWS, dtype=np.float64)
        depth = depth_of_rows(below + 0.5)[:, None]
        columns = np.arange(WIDTH + 2 * _SIDE, dtype=np.float64)
        across = (columns - WIDTH / 2 - _SIDE)[None, :] / FOCAL_PX
        self._grain_x = (across * depth * _TEXELS_PER_M + rng.uniform(0, TILE)).astype(np.float32)
        ahead = np.minimum(depth * _TEXELS_PER_M, 1e5)
        self._grain_z = np.broadcast_to(ahead, self._grain_x.shape).astype(np.float32)
        seen = np.clip(0.7 - depth / 46, 0, 0.56)  # far grain would flicker
        self._grain_seen = np.broadcast_to(seen, self._grain_x.shape).astype(np.float32)
        self._grain_unseen = (128 * (1 - self._grain_seen)).astype(np.uint8)
        self._factor, self._added = _light_on_ground(conditions, depth, across)

    def paint(self, camera: Camera, travelled_m: float) -> Image:
        """Return the empty road, uint8, shape (HEIGHT, WIDTH, 3)."""
        image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        horizon = round(camera.horizon_px)
        left = min(max(round(WIDTH / 2 + _SIDE - camera.center_px), 0), 2 * _SIDE)
        columns = slice(left, left + WIDTH)
        image[:horizon] = self._sky[_SKY_ROWS - horizon :, columns]
        image[horizon:] = self._road.verge
        self._pave(image, camera, travelled_m)
        ground, rows = image[horizon:], slice(0, HEIGHT - horizon)
        texture = cv2.remap(
            tile(), self._grain_x[rows, columns],
            self._grain_z[rows, columns] + np.float32(travelled_m * _TEXELS_PER_M % TILE),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP,
        )  # fmt: skip
        grain = cv2.multiply(texture, self._grain_seen[rows, columns], dtype=cv2.CV_8U)
        grain = cv2.add(grain, self._grain_unseen[rows, columns])
        ground[:] = cv2.multiply(ground, cv2.merge([grain] * 3), scale=1 / 128)
        lit = cv2.multiply(ground, self._factor[rows, columns], dtype=cv2.CV_8U)
        ground[:] = cv2.add(lit, self._added[rows, columns])
        return image

    def _pave(self, image: Image, camera: Camera, travelled_m: float) -> None:
        road = self._road
        if road.paved_verge:
            for x0, x1 in ((road.outer_left - 2.6, road.outer_left),
                           (road.outer_right, road.outer_right + 2.6)):  # fmt: skip
                _strip(image, camera, x0, x1, (150, 148, 142))
        kerb: Color = (170, 168, 160) if road.paved_verge else dim(road.verge, 0.85)
        _strip(image, camera, road.outer_left - 0.15, road.outer_right + 0.15, kerb)
        _strip(image, camera, road.outer_left, road.outer_right, dim(road.asphalt, 0.94))
        _strip(image, camera, road.left, road.right, road.asphalt)
        for x, z, wide, long, shade in road.repairs:
            near = max(z - travelled_m, _NEAR_M)
            if near < z + long - travelled_m:
                far = z + long - travelled_m
                _quad(image, camera, (x, x + wide), (near, far), dim(road.asphalt, shade))
        for line in road.lines:
            self._paint_line(image, camera, line, travelled_m)

    def _paint_line(self, image: Image, camera: Camera, line: Line, travelled_m: float) -> None:
        if not line.dashed:
            _strip(image, camera, line.x - 0.075, line.x + 0.075, line.color)
            return
        first = -(travelled_m % _PITCH_M)
        for start in np.arange(first, _PAINT_SEEN_M, _PITCH_M):
            near, far = max(float(start), _NEAR_M), float(start) + _DASH_M
            if near < far:
                seen = min(1.0, 30.0 / near)
                color = _mix(self._road.asphalt, line.color, seen)
                _quad(image, camera, (line.x - 0.07, line.x + 0.07), (near, far), color)


def _mix(first: Color, second: Color, share: float) -> Color:
    r, g, b = (int(a + (c - a) * share) for a, c in zip(first, second, strict=True))
    return r, g, b


def _strip(image: Image, camera: Camera, x0: float, x1: float, color: Color) -> None:
    """Fill the ground between two lateral offsets, up to the horizon."""
    z = _strip_depths()
    left = camera.ground(np.stack([np.full_like(z, x0), z], axis=1))
    right = camera.ground(np.stack([np.full_like(z, x1), z], axis=1))
    _fill(image, np.concatenate([left, right[::-1]]), color)


@lru_cache(maxsize=1)
def _strip_depths() -> NDArray[np.float64]:
    return np.geomspace(_NEAR_M, _FAR_M, 22)


def _quad(
    image: Image, camera: Camera, x: tuple[float, float], z: tuple[float, float], color: Color
) -> None:
    corners = np.array([(x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1])])
    _fill(image, camera.ground(corners), color)


def _fill(image: Image, points: NDArray[np.float64], color: Color) -> None:
    fixed = np.clip(points, -4000, 4000) * (1 << _BITS)
    cv2.fillPoly(image, [fixed.round().astype(np.int32)], color, cv2.LINE_AA, _BITS)


def _light_on_ground(
    conditions: Conditions, depth: NDArray[np.float64], across: NDArray[np.float64]
) -> tuple[NDArray[np.float32], Image]:
    """Return the factor and the offset of ground colors per pixel."""
    clear = np.exp(-depth / conditions.visibility_m)
    dull = 1 - 0.35 * conditions.wet
    beam = np.zeros((len(depth), across.shape[1]), np.float32)
    if conditions.headlight:
        near = np.clip((depth - 3.5) / 4, 0.25, 1)  # the hood hides the nearest meters
        down = conditions.headlight * np.exp(-depth / 17) * near * clear * dull
        beam += (down * np.exp(-((across / 0.36) ** 2))).astype(np.float32)
    everywhere = (clear * dull).astype(np.float32)
    light = cv2.merge([beam + everywhere * np.float32(part) for part in conditions.ambient])
    shine = np.array(conditions.haze) * (1 - clear + conditions.wet * 0.22 * clear)
    added = np.broadcast_to(np.clip(shine, 0, 255)[:, None], light.shape).astype(np.uint8)
    return light, added


def _sky(conditions: Conditions, rng: Rng) -> Image:
    """Return the sky with a skyline at the bottom, shape (_SKY_ROWS, WIDTH + 2 * _SIDE, 3)."""
    wide = WIDTH + 2 * _SIDE
    up = np.linspace(1, 0, _SKY_ROWS)[:, None, None]
    haze = np.array(conditions.haze, np.float64)
    if conditions.night:
        top = np.array([8.0, 9.0, 15.0]) + haze * 0.12
    elif conditions.weather in ("rain", "fog"):
        top = haze * 0.93
    else:
        top = np.array([104.0, 150.0, 206.0]) * rng.uniform(0.9, 1.1)
        haze = np.array([206.0, 216.0, 226.0]) if conditions.weather == "clear" else haze
    gradient = np.broadcast_to(haze + (top - haze) * up**0.8, (_SKY_ROWS, wide, 3))
    contrast = 3.0 if conditions.night or conditions.weather == "fog" else rng.uniform(4, 26)
    clouds = cv2.merge([_clouds(rng, wide, contrast)] * 3)
    image = cv2.add(np.clip(gradient, 0, 255).astype(np.uint8), clouds)
    _skyline(image, conditions, rng)
    return image


def _clouds(rng: Rng, wide: int, contrast: float) -> Image:
    """Return the brightness of the clouds, shape (_SKY_ROWS, wide)."""
    coarse = rng.normal(size=(9, 12)).astype(np.float32)
    fine = rng.normal(size=(28, 40)).astype(np.float32)
    size = (wide // 4, _SKY_ROWS // 4)
    layers = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    layers = layers + 0.4 * cv2.resize(fine, size, interpolation=cv2.INTER_CUBIC)
    fade = np.linspace(contrast, 0, size[1], dtype=np.float32)[:, None]
    bright = np.clip((layers + 0.4) * fade, 0, 255)
    return cv2.resize(bright, (wide, _SKY_ROWS)).astype(np.uint8)


def _skyline(image: Image, conditions: Conditions, rng: Rng) -> None:
    """Draw hills, woods and roofs a few hundred meters away."""
    rows, wide = image.shape[:2]
    for depth, base, tall in ((420.0, (96, 108, 112), 34.0), (180.0, (66, 84, 58), 17.0)):
        clear = conditions.clearness(depth * 0.55)
        lit = [part * light for part, light in zip(base, conditions.ambient, strict=True)]
        color = tuple(
            c * clear + h * (1 - clear) for c, h in zip(lit, conditions.haze, strict=True)
        )
        steps = np.linspace(0, wide, 60 if tall < 20 else 14)
        ridge = rows - tall * np.abs(rng.normal(0.5, 0.32, len(steps)))
        outline = np.concatenate([np.stack([steps, ridge], axis=1), [[wide, rows], [0, rows]]])
        cv2.fillPoly(image, [outline.round().astype(np.int32)], color, cv2.LINE_AA)
        for _ in range(int(rng.integers(0, 6))):
            x, w, h = rng.uniform(0, wide), rng.uniform(10, 40), rng.uniform(4, tall * 1.6)
            corner = (int(x), int(rows - h)), (int(x + w), rows)
            shade = rng.uniform(0.82, 1.12)
            roof = tuple(part * shade for part in color)
            cv2.rectangle(image, *corner, roof, -1)
