"""Layout of a work zone along the road."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curation.demo.domain import Color, Domain, Palette
from curation.demo.road import LANE_M, Road
from curation.demo.thing import GRAY, Rng, Size, Thing, make

_STEEL: Color = (110, 112, 114)
_SIZES: dict[str, tuple[Size, Size]] = {
    "cone": ((0.26, 0.45, 0.0), (0.42, 0.95, 0.0)),
    "tube": ((0.24, 0.75, 0.0), (0.34, 1.05, 0.0)),
    "drum": ((0.5, 0.9, 0.0), (0.62, 1.05, 0.0)),
    "barricade": ((0.8, 0.9, 0.0), (2.4, 1.5, 0.0)),
    "worker": ((0.6, 1.6, 0.0), (0.72, 1.95, 0.0)),
    "work_truck": ((2.2, 2.3, 5.5), (2.5, 3.1, 8.0)),
    "excavator": ((4.6, 2.9, 0.0), (6.0, 3.6, 0.0)),
    "roller": ((1.6, 2.3, 0.0), (2.1, 2.9, 0.0)),
    "diamond_sign": ((0.95, 0.95, 0.0), (1.3, 1.3, 0.0)),
    "board_sign": ((0.9, 0.6, 0.0), (1.5, 1.0, 0.0)),
    "arrow_board": ((1.6, 2.4, 0.0), (2.3, 3.1, 0.0)),
}
"""Least and greatest width, height and length in meters."""


class _Site:
    """Position and equipment of one zone."""

    def __init__(self, rng: Rng, road: Road, domain: Domain, palette: Palette) -> None:
        self.rng, self.road, self.domain, self.palette = rng, road, domain, palette
        near, far = domain.nearest_m
        self.start = float(near + (far - near) * rng.random() ** 1.3)
        self.right_side = bool(rng.random() < 0.7)
        ours = self.right_side and road.right < LANE_M  # no lane between the edge and the camera
        self._edge = (road.right + 1.6 if ours else road.right) if self.right_side else road.left
        self.reach = 2.1 if ours else abs(self._edge) - LANE_M / 2
        self.channelizer = self._channelizer()
        self.things: list[Thing] = []

    def _channelizer(self) -> str:
        if self.rng.random() < self.domain.variants * 0.5:
            return "tube"
        return "cone" if self.rng.random() < 0.6 else "drum"

    def at(self, from_edge: float) -> float:
        """Return the lateral position inward of the site's edge, outside the ego lane."""
        inwards = min(from_edge, self.reach)
        return self._edge - inwards if self.right_side else self._edge + inwards

    def put(self, kind: str, x: float, z: float, *, base: float = 0.0) -> None:
        """Add one object in a typical size and in the contractor's colors."""
        body, accent = self._colors(kind)
        low, high = (np.array(part) for part in _SIZES[kind])
        width, height, length = low + (high - low) * self.rng.random()
        size = (float(width), float(height), float(length))
        self.things.append(make(self.rng, kind, x, z, size, body, accent, base=base))

    def row(self, x0: float, z0: float, x1: float, z1: float, spacing: float) -> None:
        """Place channelizers of one size in a line, some slightly displaced."""
        count = max(int(np.hypot(x1 - x0, z1 - z0) / spacing), 1)
        low, high = (np.array(part) for part in _SIZES[self.channelizer])
        width, height, _ = low + (high - low) * self.rng.random()
        body, accent = self._colors(self.channelizer)
        dna = make(self.rng, self.channelizer, 0, 0, (1, 1, 0), body, accent).dna
        for i in range(count + 1):
            if self.rng.random() < 0.06:
                continue
            x, z = (a + (b - a) * i / count for a, b in ((x0, x1), (z0, z1)))
            x, z = x + self.rng.normal(0, 0.08), z + self.rng.normal(0, 0.15)
            self.things.append(
                Thing(self.channelizer, float(x), float(z), float(width), float(height), 0.0,
                      body, accent, dna)
            )  # fmt: skip

    def sign(self, z: float) -> None:
        """Place a work-zone sign on its stand beyond the edge."""
        kind = "diamond_sign" if self.rng.random() < 0.65 else "board_sign"
        side = 1.0 if self.right_side else -1.0
        edge = self.road.outer_right if self.right_side else self.road.outer_left
        x = edge + side * self.rng.uniform(0.1, 1.0)
        base = float(self.rng.uniform(0.35, 1.9))
        gray = make(self.rng, "post", x, z + 0.05, (0.1, base + 0.5, 0), _STEEL, GRAY)
        self.things.append(gray)
        self.put(kind, x, z, base=base)

    def _colors(self, kind: str) -> tuple[Color, Color]:
        palette = self.palette
        if kind == "worker":
            return palette.vest, (52, 62, 92)
        if kind in ("work_truck", "excavator", "roller", "arrow_board"):
            plain = kind == "work_truck" and self.rng.random() < self.domain.variants
            return (226, 226, 222) if plain else palette.machine, palette.band
        if kind in ("diamond_sign", "board_sign"):
            return palette.sign, palette.sign
        return palette.body, palette.band


def draw_zone(rng: Rng, road: Road, domain: Domain, palette: Palette) -> list[Thing]:
    """Return the objects of one work zone."""
    site = _Site(rng, road, domain, palette)
    plans: list[Callable[[_Site], None]] = [_taper, _shoulder, _closure, _spot]
    plans[int(rng.integers(len(plans)))](site)
    if rng.random() < 0.7:
        site.sign(site.start - rng.uniform(0, 6))
    if rng.random() < domain.variants * 0.5:
        site.put("arrow_board", site.at(1.2), site.start + rng.uniform(4, 12))
    return site.things


def _taper(site: _Site) -> None:
    """Lane closure: a taper, a row along the lane, and work behind it."""
    rng, z = site.rng, site.start
    long = rng.uniform(8, 16)
    spacing = rng.uniform(2.2, 4.0)
    inner = site.at(LANE_M * 0.92)
    site.row(site.at(0.0), z, inner, z + long, spacing)
    site.row(inner, z + long, inner, z + long + 26, spacing * 1.4)
    if rng.random() < 0.5:
        site.put("barricade", site.at(LANE_M * 0.45), z + long * 0.85)
    _crew(site, site.at(LANE_M * 0.4), z + long, z + long + 18)


def _shoulder(site: _Site) -> None:
    """Work on the shoulder behind a short row."""
    rng, z = site.rng, site.start
    site.row(site.at(-0.2), z, site.at(0.1), z + rng.uniform(8, 20), rng.uniform(2.0, 4.5))
    beyond = site.at(-1.6 - site.road.shoulder / 2)
    if rng.random() < 0.4:
        site.put("barricade", beyond, z + 1)
    _crew(site, beyond, z + 3, z + 18)


def _closure(site: _Site) -> None:
    """Road closure with a row of barricades."""
    rng, z = site.rng, site.start
    from_edge = rng.uniform(0.3, 1.2)
    for i in range(int(rng.integers(1, 4))):
        if i == 0 or from_edge + i * 2.5 < site.reach:
            site.put("barricade", site.at(from_edge + i * rng.uniform(1.9, 2.5)), z + i * 0.3)
    if rng.random() < 0.6:
        site.row(site.at(0.0), z - 3, site.at(0.2), z + 9, 3.0)
    _crew(site, site.at(0.5), z + 5, z + 20)


def _spot(site: _Site) -> None:
    """A small site: one or a few channelizers, possibly a worker."""
    rng, z = site.rng, site.start
    x = site.at(rng.uniform(-1.0, 1.5))
    for _ in range(int(rng.integers(1, 5))):
        site.put(site.channelizer, x + rng.normal(0, 0.8), z + rng.uniform(0, 3))
    if rng.random() < 0.5:
        site.put("worker", x + rng.normal(0, 0.8), z + rng.uniform(1, 4))


def _crew(site: _Site, x: float, near: float, far: float) -> None:
    """Workers and possibly a machine behind the row."""
    rng = site.rng
    for _ in range(int(rng.integers(0, 4))):
        site.put("worker", x + rng.normal(0, 0.8), rng.uniform(near, far))
    if rng.random() < 0.55:
        kind = ("work_truck", "work_truck", "excavator", "roller")[int(rng.integers(4))]
        side = 1.0 if site.right_side else -1.0
        out = side * 1.5 if kind == "excavator" else 0.0
        site.put(kind, x + out, rng.uniform(near + 2, far))
