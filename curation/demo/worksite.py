"""Drawing of traffic control devices: cones, tubes, drums, barricades, signs."""

from __future__ import annotations

from curation.demo.domain import Color
from curation.demo.pen import Pen
from curation.demo.thing import BLACK, GRAY, WHITE, Kind, Thing, dim

_AMBER: Color = (255, 196, 60)


def cone(pen: Pen, thing: Thing) -> None:
    """A traffic cone on its base, with up to two bands."""
    half, top = thing.width / 2, thing.height
    base = BLACK if thing.dna[0] < 0.5 else dim(thing.body, 0.85)
    foot, tip, thick = half * 0.72, half * 0.16, top * 0.05

    def slice_of(low: float, high: float) -> list[tuple[float, float]]:
        w0, w1 = (foot + (tip - foot) * part for part in (low, high))
        y0, y1 = (thick + (top - thick) * part for part in (low, high))
        return [(-w0, y0), (w0, y0), (w1, y1), (-w1, y1)]

    pen.fill([(-half, 0), (half, 0), (half * 0.94, thick), (-half * 0.94, thick)], base)
    pen.fill(slice_of(0.0, 1.0), thing.body)
    bands = int(thing.dna[1] * 2.99)
    if bands >= 1:
        pen.fill(slice_of(0.6, 0.8), thing.accent, surface="retro")
    if bands == 2:
        pen.fill(slice_of(0.34, 0.48), thing.accent, surface="retro")
    pen.round_off(0.8)


def tube(pen: Pen, thing: Thing) -> None:
    """A tubular marker: a slim cylinder with two bands."""
    half, top = thing.width / 2, thing.height
    pen.fill([(-half, 0), (half, 0), (half * 0.7, 0.06), (-half * 0.7, 0.06)], BLACK)
    slim = half * 0.42
    pen.box(-slim, 0.05, slim, top, thing.body)
    pen.box(-slim, top * 0.52, slim, top * 0.64, thing.accent, surface="retro")
    pen.box(-slim, top * 0.74, slim, top * 0.86, thing.accent, surface="retro")
    pen.round_off(0.7)


def drum(pen: Pen, thing: Thing) -> None:
    """A channelizing drum: four bands, slightly tapered, a rubber ring at the base."""
    half, top = thing.width / 2, thing.height
    pen.box(-half, 0, half, top * 0.07, BLACK)

    def slice_of(low: float, high: float) -> list[tuple[float, float]]:
        w0, w1 = (half * (0.95 - 0.13 * part) for part in (low, high))
        return [(-w0, top * low), (w0, top * low), (w1, top * high), (-w1, top * high)]

    pen.fill(slice_of(0.07, 0.97), thing.body)
    for low in (0.2, 0.52) if thing.dna[0] < 0.4 else (0.16, 0.4, 0.64):
        pen.fill(slice_of(low, low + 0.13), thing.accent, surface="retro")
    pen.fill(slice_of(0.9, 0.97), dim(thing.body, 0.8))
    pen.ellipse(0, top * 0.97, half * 0.8, top * 0.03, dim(thing.body, 1.1))
    if thing.dna[1] < 0.25:
        pen.light(0, top * 1.06, 0.09, _AMBER)
    pen.round_off(0.95)


def barricade(pen: Pen, thing: Thing) -> None:
    """One to three striped boards on two legs."""
    half, top = thing.width / 2, thing.height
    boards = 1 + int(thing.dna[0] * 2.99)
    steel = GRAY if thing.dna[1] < 0.6 else WHITE
    for side in (-0.82, 0.82):
        pen.box(side * half - 0.03, 0, side * half + 0.03, top, steel)
        foot = side * half
        pen.fill([(foot - 0.2, 0), (foot + 0.2, 0), (foot + 0.05, 0.1), (foot - 0.05, 0.1)], BLACK)
    deep = min(0.3, top / boards * 0.62)
    for board in range(boards):
        low = top - deep - board * (top * 0.92 / boards)
        _striped_board(pen, thing, half, low, low + deep)
    if thing.dna[2] < 0.4:
        pen.light(-0.6 * half, top + 0.1, 0.1, _AMBER)


def _striped_board(pen: Pen, thing: Thing, half: float, low: float, high: float) -> None:
    pen.box(-half, low, half, high, thing.accent, surface="retro")
    deep = high - low
    lean = deep if thing.dna[3] < 0.5 else -deep
    pitch = deep * 1.6
    for i in range(int(2 * half / pitch) + 2):
        x0 = -half + (i - 0.5) * pitch
        x1 = x0 + pitch / 2
        corners = ((x0, low), (x1, low), (x1 + lean, high), (x0 + lean, high))
        pen.fill([(min(max(x, -half), half), y) for x, y in corners], thing.body, surface="retro")


def diamond_sign(pen: Pen, thing: Thing) -> None:
    """An orange diamond with a black border and a figure or words."""
    half, middle = thing.width / 2, thing.height / 2

    def diamond(part: float) -> list[tuple[float, float]]:
        r = half * part
        return [(0, middle - r), (r, middle), (0, middle + r), (-r, middle)]

    pen.fill(diamond(1.0), thing.body, surface="retro")
    pen.fill(diamond(0.93), BLACK)
    pen.fill(diamond(0.87), thing.body, surface="retro")
    if thing.dna[0] < 0.5:
        _digging_figure(pen, middle, half)
    else:
        _words(pen, thing, middle, half * 0.5, 3)


def _digging_figure(pen: Pen, middle: float, half: float) -> None:
    at = half * 0.42
    pen.ellipse(-0.12 * half, middle + at * 0.8, at * 0.22, at * 0.22, BLACK)
    pen.fill(
        [(-0.3 * half, middle - at * 0.2), (-0.05 * half, middle + at * 0.55),
         (0.14 * half, middle + at * 0.3), (-0.1 * half, middle - at * 0.2)], BLACK,
    )  # fmt: skip
    pen.limb([(-0.25 * half, middle - at * 0.1), (-0.3 * half, middle - at)], half * 0.1, BLACK)
    pen.limb([(-0.1 * half, middle - at * 0.1), (0.05 * half, middle - at)], half * 0.1, BLACK)
    pen.limb([(0, middle + at * 0.2), (0.4 * half, middle - at * 0.9)], half * 0.06, BLACK)


def _words(pen: Pen, thing: Thing, middle: float, half: float, lines: int) -> None:
    """Rows of dark bars, as text appears from a distance."""
    deep = half * 0.9 / lines
    for row in range(lines):
        y = middle + (lines / 2 - row - 0.75) * deep * 1.7
        reach = half * (0.6 + 0.4 * thing.dna[(row + 1) % 6])
        letters = max(int(reach / (deep * 0.55)), 2)
        pitch = 2 * reach / letters
        for i in range(letters):
            x = -reach + i * pitch
            pen.box(x, y, x + pitch * 0.66, y + deep, BLACK)


def board_sign(pen: Pen, thing: Thing) -> None:
    """An orange rectangle with words."""
    half, top = thing.width / 2, thing.height
    pen.box(-half, 0, half, top, BLACK)
    edge = min(half, top) * 0.07
    pen.box(-half + edge, edge, half - edge, top - edge, thing.body, surface="retro")
    _words(pen, thing, top / 2, half * 0.85, 2 if top < 0.8 else 3)


def arrow_board(pen: Pen, thing: Thing) -> None:
    """A black trailer board whose amber lamps form an arrow."""
    half, top = thing.width / 2, thing.height
    low = top * 0.42
    pen.box(-half * 0.9, 0.25, half * 0.9, 0.5, dim(thing.body, 0.7))
    for side in (-0.6, 0.6):
        pen.ellipse(side * half, 0.25, 0.25, 0.25, BLACK)
        pen.box(side * half * 0.3 - 0.04, 0.4, side * half * 0.3 + 0.04, low, GRAY)
    pen.box(-half, low, half, top, BLACK)
    to = 1.0 if thing.dna[0] < 0.5 else -1.0
    middle, reach = (low + top) / 2, half * 0.8
    lamp = min(half, top - low) * 0.09
    for i in range(5):
        pen.light(to * (-reach + i * reach * 0.4), middle, lamp, _AMBER)
    for i in range(1, 3):
        for up in (-1, 1):
            x = to * (reach * 0.6 - i * 0.22 * reach)
            pen.light(x, middle + up * i * (top - low) * 0.17, lamp, _AMBER)


KINDS = {
    "cone": Kind(cone, "cone"),
    "tube": Kind(tube, "cone"),
    "drum": Kind(drum, "drum", overhang_m=0.2),
    "barricade": Kind(barricade, "barricade", overhang_m=0.25),
    "diamond_sign": Kind(diamond_sign, "sign", shadow=False),
    "board_sign": Kind(board_sign, "sign", shadow=False),
    "arrow_board": Kind(arrow_board, "sign", overhang_m=0.1),
}
