"""Geometry and surface of the road of one drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.demo.domain import Color

LANE_M = 3.5

_VERGES: tuple[Color, ...] = (
    (86, 112, 58), (112, 124, 66), (134, 120, 88), (150, 146, 140), (98, 104, 84), (158, 138, 104),
)  # fmt: skip
_YELLOW: Color = (222, 176, 60)
_WHITE: Color = (222, 222, 216)


@dataclass(frozen=True)
class Line:
    """A painted line along the road, `x` meters right of the middle of the ego lane."""

    x: float
    color: Color
    dashed: bool


@dataclass(frozen=True)
class Road:
    """A straight or curved road.

    Attributes:
        left, right: Edges, in meters right of the middle of the ego lane.
        parting: Border of the oncoming traffic, which is to the left.
        lines: The painted lines.
        shoulder: Width of the paved strip beyond each edge line, in meters.
        paved_verge: Whether sidewalks adjoin the road instead of verges.
        asphalt, verge: Ground colors.
        bend: Curvature, see `Camera`.
        repairs: Darker or brighter patches of asphalt (x, z, width, length, shade).
    """

    left: float
    right: float
    parting: float
    lines: tuple[Line, ...]
    shoulder: float
    paved_verge: bool
    asphalt: Color
    verge: Color
    bend: float
    repairs: tuple[tuple[float, float, float, float, float], ...]

    @property
    def outer_left(self) -> float:
        """Inner edge of the left verge."""
        return self.left - self.shoulder

    @property
    def outer_right(self) -> float:
        """Inner edge of the right verge."""
        return self.right + self.shoulder


def draw_road(rng: np.random.Generator) -> Road:
    """Return a road with one to three lanes to the left and up to one to the right."""
    to_left, to_right = int(rng.integers(1, 4)), int(rng.integers(0, 2))
    left, right = -LANE_M * (to_left + 0.5), LANE_M * (to_right + 0.5)
    parting = left + LANE_M * max(1, to_left - to_right)
    center = _YELLOW if rng.random() < 0.6 else _WHITE
    lines = [Line(left + 0.15, _WHITE, False), Line(right - 0.15, _WHITE, False)]
    for i in range(1, to_left + to_right + 1):
        x = left + LANE_M * i
        parts = abs(x - parting) < 0.1
        lines.append(Line(x, center if parts else _WHITE, not parts or to_left == 1))
    gray = int(rng.integers(84, 128))
    cool = int(rng.integers(-2, 6))
    verge = _VERGES[int(rng.integers(len(_VERGES)))]
    return Road(
        left=left,
        right=right,
        parting=parting,
        lines=tuple(lines),
        shoulder=float(rng.uniform(0.2, 2.4)),
        paved_verge=bool(rng.random() < 0.45),
        asphalt=(gray, gray + cool // 2, gray + cool),
        verge=verge,
        bend=float(rng.normal(0, 0.0009)),
        repairs=_repairs(rng, left, right),
    )


def _repairs(
    rng: np.random.Generator, left: float, right: float
) -> tuple[tuple[float, float, float, float, float], ...]:
    count = int(rng.integers(2, 9))
    x, z = rng.uniform(left, right, count), rng.uniform(5, 80, count)
    wide, long = rng.uniform(0.1, 2.2, count), rng.uniform(0.6, 9, count)
    shade = rng.uniform(0.78, 1.1, count)
    return tuple(zip(*(part.tolist() for part in (x, z, wide, long, shade)), strict=True))
