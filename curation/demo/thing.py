"""What stands beside the road, before anybody looks at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curation.demo.domain import Colour
from curation.demo.pen import Pen

Rng = np.random.Generator
Size = tuple[float, float, float]  # width, height, length in metres

BLACK: Colour = (28, 28, 30)
GREY: Colour = (128, 130, 132)
WHITE: Colour = (240, 240, 238)


@dataclass(frozen=True)
class Thing:
    """One thing in the world of a drive.

    Attributes:
        kind: Its key in `catalogue.KINDS`.
        x: Sideways offset of its foot from the middle of our lane, metres, right is positive.
        z: Distance along the road from where the drive begins, metres.
        width, height, length: Its size in metres.
        body, accent: Its main colours.
        dna: Six numbers in [0, 1) that decide its details.
        base: Height of its foot over the road, metres.
        speed: How fast it drives ahead, m/s.
    """

    kind: str
    x: float
    z: float
    width: float
    height: float
    length: float
    body: Colour
    accent: Colour
    dna: tuple[float, float, float, float, float, float]
    base: float = 0.0
    speed: float = 0.0


@dataclass(frozen=True)
class Kind:
    """How a kind of thing is drawn and what it is called.

    Attributes:
        draw: Puts the thing on paper.
        label: Its class, or None where it has no box.
        overhang_m: Room that it needs beyond its size, left, right and above.
        shadow: Whether it is solid enough to throw one.
    """

    draw: Callable[[Pen, Thing], None]
    label: str | None = None
    overhang_m: float = 0.05
    shadow: bool = True


def dim(colour: Colour, factor: float) -> Colour:
    """Return a colour made darker, or brighter for a factor over 1."""
    red, green, blue = (min(int(part * factor), 255) for part in colour)
    return red, green, blue


def make(
    rng: Rng,
    kind: str,
    x: float,
    z: float,
    size: Size,
    body: Colour,
    accent: Colour,
    *,
    base: float = 0.0,
    speed: float = 0.0,
) -> Thing:
    """Return a thing whose details are drawn from `rng`."""
    a, b, c, d, e, f = (float(part) for part in rng.random(6))
    width, height, length = (float(part) for part in size)
    return Thing(
        kind=kind,
        x=float(x),
        z=float(z),
        width=width,
        height=height,
        length=length,
        body=body,
        accent=accent,
        dna=(a, b, c, d, e, f),
        base=float(base),
        speed=float(speed),
    )
