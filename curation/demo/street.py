"""Drawing of street furniture and scenery, including look-alikes of road work."""

from __future__ import annotations

from math import cos, pi, sin

from curation.demo.domain import Color
from curation.demo.pen import Pen
from curation.demo.thing import BLACK, GRAY, WHITE, Kind, Thing, dim

_BARK: Color = (84, 66, 50)
_SODIUM: Color = (255, 214, 150)
_PANE: Color = (70, 82, 96)
_LIT: Color = (206, 176, 120)


def bag(pen: Pen, thing: Thing) -> None:
    """A filled bag, knotted at the top."""
    half, top = thing.width / 2, thing.height
    outline = []
    for i in range(11):
        angle = pi * (i / 10)
        bulge = 1 + 0.12 * sin(5 * angle + 6 * thing.dna[0])
        outline.append((cos(angle) * half * min(bulge, 1.0), sin(angle) * top * 0.82 * bulge))
    pen.fill(outline, thing.body)
    pen.fill([(-0.1 * half, top * 0.7), (0.1 * half, top * 0.7), (0.3 * half, top),
              (-0.25 * half, top * 0.97)], dim(thing.body, 0.85))  # fmt: skip
    for fold in (-0.4, 0.1, 0.5):
        pen.limb([(fold * half, top * 0.15), (fold * half * 0.4, top * 0.7)], 0.025,
                 dim(thing.body, 0.72))  # fmt: skip
    pen.round_off(0.7)


def bollard(pen: Pen, thing: Thing) -> None:
    """A fixed post, possibly with a bright ring."""
    half, top = thing.width / 2, thing.height
    pen.box(-half, 0, half, top * 0.95, thing.body)
    pen.ellipse(0, top * 0.94, half, top * 0.06, dim(thing.body, 1.1))
    if thing.dna[0] < 0.6:
        pen.box(-half, top * 0.7, half, top * 0.82, thing.accent, surface="retro")
    pen.round_off(0.9)


def hydrant(pen: Pen, thing: Thing) -> None:
    """A fire hydrant."""
    half, top = thing.width / 2, thing.height
    pen.box(-half * 0.8, 0, half * 0.8, top * 0.1, dim(thing.body, 0.7))
    pen.box(-half * 0.5, 0, half * 0.5, top * 0.75, thing.body)
    pen.box(-half, top * 0.45, half, top * 0.62, dim(thing.body, 0.9))
    pen.box(-half * 0.65, top * 0.7, half * 0.65, top * 0.78, dim(thing.body, 0.8))
    pen.ellipse(0, top * 0.78, half * 0.5, top * 0.2, thing.body)
    pen.box(-half * 0.14, top * 0.48, half * 0.14, top * 0.6, thing.accent)
    pen.round_off(0.8)


def postbox(pen: Pen, thing: Thing) -> None:
    """A letter or newspaper box on a short leg."""
    half, top = thing.width / 2, thing.height
    pen.box(-half * 0.3, 0, half * 0.3, top * 0.4, dim(GRAY, 0.6))
    pen.box(-half, top * 0.35, half, top * 0.9, thing.body)
    pen.ellipse(0, top * 0.89, half, top * 0.1, thing.body)
    pen.box(-half * 0.6, top * 0.76, half * 0.6, top * 0.8, BLACK)
    pen.box(-half * 0.5, top * 0.5, half * 0.5, top * 0.66, thing.accent)
    pen.round_off(0.4)


def bin_(pen: Pen, thing: Thing) -> None:
    """A wheeled bin with a lid."""
    half, top = thing.width / 2, thing.height
    pen.fill([(-half * 0.8, 0.05), (half * 0.8, 0.05), (half, top * 0.88), (-half, top * 0.88)],
             thing.body)  # fmt: skip
    pen.box(-half * 1.04, top * 0.86, half * 1.04, top, dim(thing.accent, 0.9))
    for side in (-0.7, 0.7):
        pen.ellipse(side * half, 0.08, 0.08, 0.08, BLACK)


def stop_sign(pen: Pen, thing: Thing) -> None:
    """A red octagon."""
    half = thing.width / 2
    for part, color in ((1.0, WHITE), (0.92, thing.body)):
        r = half * part * 1.08
        angles = [pi / 8 + i * pi / 4 for i in range(8)]
        corners = [(r * cos(angle), half + r * sin(angle)) for angle in angles]
        pen.fill(corners, color, surface="retro")
    pen.box(-half * 0.6, half * 0.85, half * 0.6, half * 1.15, WHITE, surface="retro")


def warning_sign(pen: Pen, thing: Thing) -> None:
    """A permanent warning sign: a diamond as in road work, in a different color."""
    half = thing.width / 2
    for part, color in ((1.0, thing.body), (0.92, BLACK), (0.86, thing.body)):
        r = half * part
        pen.fill([(0, half - r), (r, half), (0, half + r), (-r, half)], color, surface="retro")
    pen.limb([(0, half * 0.6), (0.15 * half, half), (-0.1 * half, half * 1.4)], 0.09, BLACK)


def plate_sign(pen: Pen, thing: Thing) -> None:
    """A rectangular sign with a line or two."""
    half, top = thing.width / 2, thing.height
    pen.box(-half, 0, half, top, WHITE, surface="retro")
    pen.box(-half * 0.93, top * 0.06, half * 0.93, top * 0.94, thing.body, surface="retro")
    ink = BLACK if sum(thing.body) > 450 else WHITE
    for y in (0.25, 0.6):
        reach = half * (0.4 + 0.4 * thing.dna[0])
        pen.box(-reach, top * y, reach, top * (y + 0.15), ink)


def post(pen: Pen, thing: Thing) -> None:
    """A thin post."""
    half = thing.width / 2
    pen.box(-half, 0, half, thing.height, thing.body)


def lamp(pen: Pen, thing: Thing) -> None:
    """A street lamp, lit at night."""
    top, reach = thing.height, thing.width / 2
    pen.limb([(0, 0), (0, top * 0.95)], 0.16, thing.body)
    to = -1.0 if thing.x > 0 else 1.0
    pen.limb([(0, top * 0.95), (to * reach * 0.8, top)], 0.1, thing.body)
    if thing.dna[0] < 0.5:
        pen.light(to * reach * 0.8, top - 0.08, 0.16, _SODIUM)


def tree(pen: Pen, thing: Thing) -> None:
    """A tree, or a bush where there is no space for a trunk."""
    half, top = thing.width / 2, thing.height
    crown = 0.3 * top if top > 2.5 else 0.0
    if crown:
        pen.limb([(0, 0), (0, crown * 1.6)], 0.09 * half + 0.1, _BARK)
    middle, ry = (crown + top) / 2, (top - crown) / 2
    count = 6 if pen.coarse else 22
    for i in range(count):
        angle = 2.4 * i + 6.28 * thing.dna[0]
        away = 0.72 * (1 - i / count) ** 0.5
        size = 0.62 - 0.34 * away + 0.1 * thing.dna[i % 6] if i else 0.6
        shade = 0.62 + 0.4 * (i / count) + 0.2 * sin(angle) * thing.dna[(i + 2) % 6]
        size *= 0.62 if i > 6 else 0.85
        pen.ellipse(cos(angle) * half * away, middle + sin(angle) * ry * away, half * size,
                    ry * size, dim(thing.body, shade))  # fmt: skip
    pen.roughen(1.1)


def building(pen: Pen, thing: Thing) -> None:
    """A house with rows of windows and the side that faces the road."""
    half, top = thing.width / 2, thing.height
    x = -half if thing.x > 0 else half
    far = thing.length
    pen.fill([(x, 0, 0), (x, 0, far), (x, top, far), (x, top, 0)], dim(thing.body, 0.78))
    pen.box(-half, 0, half, top, thing.body)
    pen.roughen(0.4)
    floors, columns = max(int(top / 3), 1), max(int(2 * half / 2.6), 1)
    for row in range(floors):
        y0 = top * (row + 0.3) / floors
        y1 = y0 + top * 0.42 / floors
        for i in range(columns):
            x0 = -half + 2 * half * (i + 0.25) / columns
            shines = pen.night and thing.dna[(row + 2 * i) % 6] < 0.35
            pen.box(
                x0,
                y0,
                x0 + half / columns,
                y1,
                _LIT if shines else _PANE,
                surface="shining" if shines else "dull",
            )
        for i in range(3):
            near, end = far * (i + 0.25) / 3, far * (i + 0.65) / 3
            pen.fill([(x, y0, near), (x, y0, end), (x, y1, end), (x, y1, near)], (54, 64, 76))
    pen.box(-half, top * 0.97, half, top, dim(thing.body, 0.7))


KINDS = {
    "bag": Kind(bag),
    "bollard": Kind(bollard),
    "hydrant": Kind(hydrant),
    "postbox": Kind(postbox),
    "bin": Kind(bin_, overhang_m=0.1),
    "stop_sign": Kind(stop_sign, overhang_m=0.1, shadow=False),
    "warning_sign": Kind(warning_sign, shadow=False),
    "plate_sign": Kind(plate_sign, shadow=False),
    "post": Kind(post, shadow=False),
    "lamp": Kind(lamp, overhang_m=0.3, shadow=False),
    "tree": Kind(tree, overhang_m=0.4),
    "building": Kind(building, shadow=False),
}
