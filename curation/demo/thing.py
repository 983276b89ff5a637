"""Objects of a scene, in world coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curation.demo.domain import Color
from curation.demo.pen import Pen

Rng = np.random.Generator
Size = tuple[float, float, float]  # width, height, length in meters

BLACK: Color = (28, 28, 30)
GRAY: Color = (128, 130, 132)
WHITE: Color = (240, 240, 238)


@dataclass(frozen=True)
class Thing:
    """An object in the world of a drive.

    Attributes:
        kind: Its key in `catalogue.KINDS`.
        x: Lateral offset from the middle of the ego lane in meters, positive to the right.
        z: Distance along the road from the start of the drive, in meters.
        width, height, length: Size in meters.
        body, accent: Main colors.
        dna: Six numbers in [0, 1) that determine the details.
        base: Height of the foot above the road, in meters.
        speed: Forward speed in m/s.
    """

    kind: str
    x: float
    z: float
    width: float
    height: float
    length: float
    body: Color
    accent: Color
    dna: tuple[float, float, float, float, float, float]
    base: float = 0.0
    speed: float = 0.0


@dataclass(frozen=True)
class Kind:
    """Drawing function and label of a kind of object.

    Attributes:
        draw: Draws the object with a pen.
        label: Class name, or None for unlabeled objects.
        overhang_m: Margin beyond the size on the left, right and top, in meters.
        shadow: Whether the object casts a shadow.
    """

    draw: Callable[[Pen, Thing], None]
    label: str | None = None
    overhang_m: float = 0.05
    shadow: bool = True


def dim(color: Color, factor: float) -> Color:
    """Return a darker color, or a brighter one for a factor above 1."""
    red, green, blue = (min(int(part * factor), 255) for part in color)
    return red, green, blue


def make(
    rng: Rng,
    kind: str,
    x: float,
    z: float,
    size: Size,
    body: Color,
    accent: Color,
    *,
    base: float = 0.0,
    speed: float = 0.0,
) -> Thing:
    """Return an object with details drawn from `rng`."""
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
