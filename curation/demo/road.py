"""The road of one drive: where its edges and lines run, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.demo.domain import Colour

LANE_M = 3.5

_VERGES: tuple[Colour, ...] = (
    (86, 112, 58), (112, 124, 66), (134, 120, 88), (150, 146, 140), (98, 104, 84), (158, 138, 104),
)  # fmt: skip
_YELLOW: Colour = (222, 176, 60)
_WHITE: Colour = (222, 222, 216)


@dataclass(frozen=True)
class Line:
    """A painted line along the road, at `x` metres right of our lane's middle."""

    x: float
    colour: Colour
    dashed: bool


@dataclass(frozen=True)
class Road:
    """A straight or bending road.

    Attributes:
        left, right: Its edges, metres right of the middle of our lane.
        parting: What lies to the left of it is the oncoming traffic's.
        lines: The painted lines.
        shoulder: Width of the paved strip beyond each edge line, metres.
        paved_verge: Whether pavements, not verges, lie beyond.
        asphalt, verge: Ground colours.
        bend: As in `Camera`.
        repairs: Darker or brighter patches (x, z, width, length, shade).
    """

    left: float
    right: float
    parting: float
    lines: tuple[Line, ...]
    shoulder: float
    paved_verge: bool
    asphalt: Colour
    verge: Colour
    bend: float
    repairs: tuple[tuple[float, float, float, float, float], ...]

    @property
    def outer_left(self) -> float:
        """Where the verge begins on the left."""
        return self.left - self.shoulder

    @property
    def outer_right(self) -> float:
        """Where the verge begins on the right."""
        return self.right + self.shoulder


def draw_road(rng: np.random.Generator) -> Road:
    """Return a road with one to three lanes to our left and none or one to our right."""
    to_left, to_right = int(rng.integers(1, 4)), int(rng.integers(0, 2))
    left, right = -LANE_M * (to_left + 0.5), LANE_M * (to_right + 0.5)
    parting = left + LANE_M * max(1, to_left - to_right)
    centre = _YELLOW if rng.random() < 0.6 else _WHITE
    lines = [Line(left + 0.15, _WHITE, False), Line(right - 0.15, _WHITE, False)]
    for i in range(1, to_left + to_right + 1):
        x = left + LANE_M * i
        parts = abs(x - parting) < 0.1
        lines.append(Line(x, centre if parts else _WHITE, not parts or to_left == 1))
    grey = int(rng.integers(84, 128))
    cool = int(rng.integers(-2, 6))
    verge = _VERGES[int(rng.integers(len(_VERGES)))]
    return Road(
        left=left,
        right=right,
        parting=parting,
        lines=tuple(lines),
        shoulder=float(rng.uniform(0.2, 2.4)),
        paved_verge=bool(rng.random() < 0.45),
        asphalt=(grey, grey + cool // 2, grey + cool),
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
