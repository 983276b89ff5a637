"""Distributions of rendered drives: conditions, colors and distances."""

from __future__ import annotations

from dataclasses import dataclass

Color = tuple[int, int, int]  # RGB, 0..255


@dataclass(frozen=True)
class Palette:
    """The colors of one contractor's equipment.

    Attributes:
        body: Cones, drums, boards.
        band: Their retroreflective stripes.
        sign: Work-zone signs.
        vest: The workers' vests.
        machine: Machines and work trucks.
    """

    body: Color
    band: Color
    sign: Color
    vest: Color
    machine: Color


CLASSIC = Palette((244, 98, 24), (246, 246, 240), (250, 130, 20), (196, 240, 40), (244, 190, 30))
RED = Palette((206, 34, 34), (240, 240, 240), (244, 170, 24), (250, 110, 30), (238, 120, 24))
FADED = Palette((206, 126, 96), (206, 204, 196), (214, 148, 84), (218, 206, 120), (206, 178, 104))
LIME = Palette((190, 214, 44), (236, 240, 232), (236, 96, 90), (250, 90, 50), (226, 228, 224))
DIRTY = Palette((150, 74, 40), (158, 154, 146), (176, 104, 40), (150, 160, 60), (150, 130, 60))


@dataclass(frozen=True)
class Domain:
    """A distribution over drives.

    Attributes:
        name: Name in file stamps.
        roadwork: Share of drives with road work.
        night: Share of drives at night.
        weathers: Share of each weather; shares sum to 1. At night, glare comes from headlights.
        nearest_m: Range of distances to the work zone in the first frame, in meters.
        lookalikes: Mean number of objects per drive that resemble road work.
        palettes: Palettes of the contractors, equally frequent.
        variants: Share of the less common builds (tubes, arrow boards, white work trucks).
        degraded: Share of drives with a poor camera: blur, noise, strong compression.
    """

    name: str
    roadwork: float
    night: float
    weathers: tuple[tuple[str, float], ...]
    nearest_m: tuple[float, float]
    lookalikes: float
    palettes: tuple[Palette, ...]
    variants: float
    degraded: float


PRETRAIN = Domain(
    name="pretrain",
    roadwork=0.56,  # slightly over half of the drives, for half of the images
    night=0.06,
    weathers=(("clear", 0.92), ("rain", 0.04), ("glare", 0.04)),
    nearest_m=(7.0, 24.0),
    lookalikes=0.6,
    palettes=(CLASSIC,),
    variants=0.05,
    degraded=0.1,
)
"""Mostly clear days, near and middle distances, one contractor, few look-alikes."""

DEPLOYMENT = Domain(
    name="deployment",
    roadwork=0.56,  # slightly over half of the drives, for half of the images
    night=0.3,
    weathers=(("clear", 0.44), ("rain", 0.24), ("glare", 0.16), ("fog", 0.16)),
    nearest_m=(7.0, 48.0),
    lookalikes=4.0,
    palettes=(CLASSIC, RED, FADED, LIME, DIRTY),
    variants=0.35,
    degraded=0.35,
)
"""Conditions that a detector pretrained on `PRETRAIN` has not seen."""
