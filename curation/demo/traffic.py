"""Drawing of vehicles: moving, parked and working."""

from __future__ import annotations

from curation.demo.domain import Color
from curation.demo.pen import Pen
from curation.demo.thing import BLACK, GRAY, WHITE, Kind, Thing, dim

_GLASS: Color = (56, 68, 80)
_SKY_IN_GLASS: Color = (128, 146, 160)
_RED: Color = (236, 30, 24)
_LAMP: Color = (255, 246, 220)
_AMBER: Color = (255, 180, 40)


def car(pen: Pen, thing: Thing) -> None:
    """A car with its visible side."""
    half, top, long = thing.width / 2, thing.height, thing.length
    belt, roof = top * 0.58, half * 0.78
    clearance = top * 0.13
    _wheels(pen, thing, half * 0.8, top * 0.21)
    _flank(pen, thing, clearance, belt, dim(thing.body, 0.78))
    _cabin_flank(pen, half, roof, belt, top, long, thing)
    pen.fill(
        [(-half * 0.97, clearance), (half * 0.97, clearance), (half, belt * 0.75),
         (half * 0.95, belt), (-half * 0.95, belt), (-half, belt * 0.75)],
        thing.body,
    )  # fmt: skip
    cabin = [(-half * 0.92, belt), (half * 0.92, belt), (roof, top), (-roof, top)]
    pen.fill(cabin, dim(thing.body, 0.92))
    w0, w1 = half * 0.8, roof * 0.88
    y0, y1 = belt + top * 0.02, top * 0.94
    pen.fill([(-w0, y0), (w0, y0), (w1, y1), (-w1, y1)], _GLASS)
    pen.fill([(-w0, y0), (-w0 * 0.2, y0), (w1 * 0.1, y1), (-w1, y1)], _SKY_IN_GLASS)
    pen.box(-half * 0.95, clearance, half * 0.95, clearance + top * 0.09, dim(thing.body, 0.6))
    plate = half * 0.28
    pen.box(-plate, belt * 0.52, plate, belt * 0.68, WHITE, surface="retro")
    _lamps(pen, thing, half * 0.78, belt * 0.82, half * 0.15)


def truck(pen: Pen, thing: Thing) -> None:
    """A truck or van from behind: doors, a side, tail lamps."""
    half, top = thing.width / 2, thing.height
    low = top * 0.2
    _wheels(pen, thing, half * 0.78, 0.48)
    _flank(pen, thing, low, top, dim(thing.body, 0.75))
    pen.box(-half, low, half, top, thing.body)
    edge = half * 0.05
    pen.box(-half + edge, low + edge, -edge / 3, top - edge, dim(thing.body, 1.06))
    pen.box(edge / 3, low + edge, half - edge, top - edge, dim(thing.body, 1.02))
    pen.box(-half, low - 0.14, half, low, dim(GRAY, 0.6))
    if thing.dna[1] < 0.5:
        pen.box(-half * 0.7, top * 0.6, half * 0.7, top * 0.78, thing.accent)
    _lamps(pen, thing, half * 0.85, low - 0.07, 0.09)


def bus(pen: Pen, thing: Thing) -> None:
    """A bus from behind: a high window and a side with windows."""
    half, top = thing.width / 2, thing.height
    low = top * 0.12
    _wheels(pen, thing, half * 0.78, 0.5)
    _flank(pen, thing, low, top, dim(thing.body, 0.78))
    inner = _inner(thing)
    for i in range(5):
        near, far = (thing.length * (i + part) / 5 for part in (0.1, 0.9))
        y0, y1 = top * 0.5, top * 0.82
        pen.fill([(inner, y0, near), (inner, y0, far), (inner, y1, far), (inner, y1, near)], _GLASS)
    pen.box(-half, low, half, top, thing.body)
    pen.box(-half * 0.85, top * 0.52, half * 0.85, top * 0.85, _GLASS)
    pen.box(-half * 0.5, top * 0.88, half * 0.5, top * 0.96, BLACK)
    pen.box(-half, low, half, low + 0.25, dim(thing.body, 0.6))
    _lamps(pen, thing, half * 0.85, top * 0.35, 0.12)


def work_truck(pen: Pen, thing: Thing) -> None:
    """A work truck: a bed with a striped tailboard, a cab beyond, a beacon on top."""
    half, top = thing.width / 2, thing.height
    low, bed = top * 0.2, top * 0.62
    _wheels(pen, thing, half * 0.78, 0.5)
    cab = thing.length * 0.62
    pen.fill([(-half * 0.9, bed, cab), (half * 0.9, bed, cab), (half * 0.84, top, cab),
              (-half * 0.84, top, cab)], dim(thing.body, 0.95))  # fmt: skip
    pen.fill([(-half * 0.7, bed, cab), (half * 0.7, bed, cab), (half * 0.66, top * 0.93, cab),
              (-half * 0.66, top * 0.93, cab)], _GLASS)  # fmt: skip
    _flank(pen, thing, low, bed, dim(thing.body, 0.75))
    pen.box(-half, low, half, bed, thing.body)
    pen.box(-half * 0.92, low + 0.1, half * 0.92, bed - 0.1, dim(thing.body, 0.88))
    if thing.dna[1] < 0.7:
        _chevrons(pen, thing, half * 0.96, low + 0.05, low + 0.05 + (bed - low) * 0.6)
    pen.box(-half, low - 0.12, half, low, BLACK)
    _lamps(pen, thing, half * 0.85, low + 0.06, 0.09)
    pen.box(-half * 0.5, bed, half * 0.5, bed + 0.12, BLACK)
    for side in (-0.4, 0.4):
        pen.light(side * half, bed + 0.16, 0.11, _AMBER)


def excavator(pen: Pen, thing: Thing) -> None:
    """An excavator from the side: tracks, house, cab, boom and bucket."""
    half, top = thing.width / 2, thing.height
    to = 1.0 if thing.dna[0] < 0.5 else -1.0
    pen.limb([(-half * 0.75, 0.3), (half * 0.5, 0.3)], 0.58, BLACK)
    pen.limb([(-half * 0.7, 0.3), (half * 0.45, 0.3)], 0.3, dim(GRAY, 0.7))
    pen.box(-half * 0.85, 0.65, half * 0.5, top * 0.5, thing.body)
    pen.box(-half * 0.85, 0.65, -half * 0.4, top * 0.46, dim(thing.body, 0.7))
    cab = sorted((to * half * 0.02, to * half * 0.42))
    pen.box(cab[0], top * 0.35, cab[1], top * 0.78, dim(thing.body, 0.9))
    pen.box(cab[0] + 0.07, top * 0.5, cab[1] - 0.07, top * 0.75, _GLASS)
    knee = (to * half * (0.45 + 0.2 * thing.dna[1]), top * 0.93)
    wrist = (to * half * 0.88, top * (0.3 + 0.25 * thing.dna[2]))
    pen.limb([(0.0, top * 0.45), knee], 0.32, thing.body)
    pen.limb([knee, wrist], 0.24, dim(thing.body, 0.88))
    x, y = wrist
    pen.fill([(x - 0.3, y), (x + 0.25, y + 0.05), (x + 0.1, y - 0.5), (x - 0.35, y - 0.4)], BLACK)
    pen.light((cab[0] + cab[1]) / 2, top * 0.8, 0.1, _AMBER)


def roller(pen: Pen, thing: Thing) -> None:
    """A road roller from behind: a steel drum under a seat with a roof."""
    half, top = thing.width / 2, thing.height
    pen.box(-half * 0.85, 0.35, half * 0.85, top * 0.55, thing.body)
    pen.box(-half * 0.8, 0.0, half * 0.8, top * 0.34, dim(GRAY, 0.8))
    pen.box(-half * 0.8, top * 0.2, half * 0.8, top * 0.26, dim(GRAY, 1.25))
    pen.box(-half * 0.5, top * 0.4, half * 0.5, top * 0.5, BLACK)
    for side in (-0.7, 0.7):
        pen.box(side * half - 0.05, top * 0.5, side * half + 0.05, top * 0.92, BLACK)
    pen.box(-half * 0.3, top * 0.55, half * 0.3, top * 0.75, dim(BLACK, 1.6))
    pen.box(-half * 0.9, top * 0.9, half * 0.9, top, dim(thing.body, 0.95))
    pen.light(half * 0.5, top + 0.08, 0.1, _AMBER)


def _inner(thing: Thing) -> float:
    """Return the x of the side that faces the camera."""
    return -thing.width / 2 if thing.x > 0 else thing.width / 2


def _flank(pen: Pen, thing: Thing, low: float, high: float, color: Color) -> None:
    x, far = _inner(thing), thing.length
    pen.fill([(x, low, 0), (x, low, far), (x, high, far), (x, high, 0)], color)


def _cabin_flank(
    pen: Pen, half: float, roof: float, belt: float, top: float, long: float, thing: Thing
) -> None:
    side = -1.0 if thing.x > 0 else 1.0
    x, r = side * half * 0.95, side * roof
    pen.fill([(x, belt, 0), (x, belt, long * 0.72), (r, top, long * 0.5), (r, top, long * 0.08)],
             dim(thing.body, 0.7))  # fmt: skip
    pen.fill([(x, belt, long * 0.08), (x, belt, long * 0.62), (r, top * 0.95, long * 0.46),
              (r, top * 0.95, long * 0.12)], dim(_GLASS, 0.8))  # fmt: skip


def _wheels(pen: Pen, thing: Thing, across: float, radius: float) -> None:
    inner = _inner(thing)
    for part in (0.82, 0.16):
        z, z1 = thing.length * part, thing.length * part + radius * 1.7
        high = radius * 1.7
        pen.fill([(inner, 0, z), (inner, 0, z1), (inner, high, z1), (inner, high, z)], BLACK)
    for side in (-1, 1):
        x = side * across
        pen.box(x - radius * 0.42, 0, x + radius * 0.42, radius * 1.6, BLACK)


def _lamps(pen: Pen, thing: Thing, across: float, height: float, size: float) -> None:
    """Tail lamps, or headlamps of oncoming vehicles; lit lamps glow."""
    oncoming = thing.speed < 0
    color = _LAMP if oncoming else _RED
    lit = oncoming or pen.night or thing.dna[2] < 0.4
    for side in (-1, 1):
        x = side * across
        if lit and thing.speed != 0:
            pen.light(x, height, size * 0.75, color)
        else:
            shade, low, high = dim(color, 0.72), height - size * 0.6, height + size * 0.6
            pen.box(x - size, low, x + size, high, shade, surface="retro")


def _chevrons(pen: Pen, thing: Thing, half: float, low: float, high: float) -> None:
    pen.box(-half, low, half, high, thing.accent, surface="retro")
    pitch = half * 0.4
    for i in range(5):
        for side in (-1, 1):
            x = [side * min(i * pitch * 0.6 + step, half) for step in (0, pitch * 0.3)]
            up = [side * max(min(i * pitch * 0.6 + step - pitch * 0.9, half), 0.0)
                  for step in (0, pitch * 0.3)]  # fmt: skip
            pen.fill([(x[0], low), (x[1], low), (up[1], high), (up[0], high)], (206, 40, 30),
                     surface="retro")  # fmt: skip


KINDS = {
    "car": Kind(car, "vehicle", overhang_m=0.1),
    "truck": Kind(truck, "vehicle", overhang_m=0.1),
    "bus": Kind(bus, "vehicle", overhang_m=0.1),
    "work_truck": Kind(work_truck, "work_vehicle", overhang_m=0.2),
    "excavator": Kind(excavator, "work_vehicle", overhang_m=0.5),
    "roller": Kind(roller, "work_vehicle", overhang_m=0.2),
}
