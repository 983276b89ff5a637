"""Drawing of people: workers and pedestrians."""

from __future__ import annotations

from curation.demo.domain import Color
from curation.demo.pen import Pen
from curation.demo.thing import BLACK, Kind, Thing, dim

_SKINS: tuple[Color, ...] = ((232, 190, 160), (198, 148, 112), (140, 96, 66), (92, 62, 46))
_TROUSERS: tuple[Color, ...] = ((44, 50, 66), (70, 66, 58), (36, 36, 38), (96, 88, 70))
_HATS: tuple[Color, ...] = ((246, 244, 236), (250, 206, 40), (246, 120, 30), (60, 110, 190))
_BAND: Color = (228, 230, 224)


def worker(pen: Pen, thing: Thing) -> None:
    """A worker in a high-visibility vest with reflective bands and a hard hat."""
    tall = thing.height
    _legs(pen, thing, reflective=thing.dna[5] < 0.4)
    _arms(pen, thing, dim(thing.body, 0.85) if thing.dna[4] < 0.5 else thing.accent)
    _torso(pen, thing, thing.body)
    half = thing.width * 0.29
    for y in (0.55, 0.66):
        pen.box(-half * 0.98, tall * y, half * 0.98, tall * (y + 0.03), _BAND, surface="retro")
    for side in (-0.5, 0.5):
        x = side * half
        pen.box(x - 0.03, tall * 0.55, x + 0.03, tall * 0.81, _BAND, surface="retro")
    _head(pen, thing)
    hat = _HATS[int(thing.dna[3] * len(_HATS))]
    pen.ellipse(0, tall * 0.945, tall * 0.066, tall * 0.055, hat)
    pen.box(-tall * 0.08, tall * 0.925, tall * 0.08, tall * 0.943, dim(hat, 0.85))
    pen.round_off(0.5)


def pedestrian(pen: Pen, thing: Thing) -> None:
    """A pedestrian, possibly with a bag."""
    tall = thing.height
    _legs(pen, thing, reflective=False)
    _arms(pen, thing, dim(thing.body, 0.9))
    _torso(pen, thing, thing.body)
    _head(pen, thing)
    hair = dim(_SKINS[int(thing.dna[1] * 4)], 0.3)
    pen.ellipse(0, tall * 0.955, tall * 0.058, tall * 0.045, hair)
    if thing.dna[3] < 0.4:
        x = thing.width * 0.42
        pen.box(x - 0.12, tall * 0.33, x + 0.12, tall * 0.5, thing.accent)
    pen.round_off(0.5)


def _legs(pen: Pen, thing: Thing, *, reflective: bool) -> None:
    tall, stride = thing.height, thing.width * (0.1 + 0.28 * thing.dna[0])
    trousers = _TROUSERS[int(thing.dna[2] * len(_TROUSERS))]
    hip = thing.width * 0.12
    for side, shade in ((-1, 0.8), (1, 1.0)):
        leg = [(side * hip, tall * 0.5), (side * (hip + stride * 0.3), tall * 0.27)]
        leg.append((side * (hip + stride * 0.6), tall * 0.05))
        pen.limb(leg, tall * 0.085, dim(trousers, shade))
        x = side * (hip + stride * 0.6)
        pen.box(x - tall * 0.05, 0, x + tall * 0.06, tall * 0.045, BLACK)
        if reflective:
            pen.box(x - 0.07, tall * 0.16, x + 0.07, tall * 0.19, _BAND, surface="retro")


def _torso(pen: Pen, thing: Thing, color: Color) -> None:
    tall, half = thing.height, thing.width * 0.29
    pen.fill(
        [(-half * 0.9, tall * 0.46), (half * 0.9, tall * 0.46), (half, tall * 0.76),
         (half * 0.7, tall * 0.83), (-half * 0.7, tall * 0.83), (-half, tall * 0.76)],
        color,
    )  # fmt: skip


def _arms(pen: Pen, thing: Thing, sleeve: Color) -> None:
    tall, half = thing.height, thing.width * 0.29
    skin = _SKINS[int(thing.dna[1] * len(_SKINS))]
    for side, lift in ((-1, thing.dna[4]), (1, thing.dna[5])):
        raised = max(lift - 0.7, 0.0) / 0.3  # most arms hang down
        elbow = (side * half * 1.35, tall * (0.62 + 0.06 * raised))
        hand = (side * half * (1.4 + 0.2 * raised), tall * (0.47 + 0.3 * raised))
        pen.limb([(side * half * 0.85, tall * 0.78), elbow, hand], tall * 0.06, sleeve)
        pen.ellipse(hand[0], hand[1], tall * 0.025, tall * 0.028, skin)


def _head(pen: Pen, thing: Thing) -> None:
    tall, skin = thing.height, _SKINS[int(thing.dna[1] * len(_SKINS))]
    pen.box(-tall * 0.028, tall * 0.82, tall * 0.028, tall * 0.88, dim(skin, 0.8))
    pen.ellipse(0, tall * 0.91, tall * 0.052, tall * 0.066, skin)


KINDS = {
    "worker": Kind(worker, "worker", overhang_m=0.15),
    "pedestrian": Kind(pedestrian, overhang_m=0.15),
}
