"""World of a drive: scenery, traffic, and possibly a work zone and look-alikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.demo.domain import Color, Domain
from curation.demo.road import LANE_M, Road, draw_road
from curation.demo.thing import GRAY, WHITE, Rng, Thing, make
from curation.demo.zone import draw_zone

_LONGEST_S = 6.0  # duration of a drive
_SLIM = frozenset({"post", "stop_sign", "warning_sign", "plate_sign", "lamp"})

_PAINTS: tuple[Color, ...] = (
    (210, 212, 214), (40, 42, 46), (120, 124, 130), (150, 30, 34), (34, 62, 120), (70, 86, 74),
    (188, 176, 150), (232, 232, 230), (88, 92, 100),
)  # fmt: skip
_LOUD_PAINTS: tuple[Color, ...] = ((232, 104, 28), (238, 186, 36), (206, 44, 36))
_WALLS: tuple[Color, ...] = (
    (168, 142, 120), (146, 92, 74), (190, 184, 172), (122, 126, 132), (204, 190, 158), (98, 92, 90),
)  # fmt: skip
_LEAVES: tuple[Color, ...] = ((58, 88, 42), (74, 104, 50), (46, 74, 44), (96, 112, 58))
_AUTUMN: tuple[Color, ...] = ((196, 106, 34), (176, 82, 30), (206, 152, 50))
_CLOTHES: tuple[Color, ...] = (
    (54, 58, 70), (120, 60, 58), (70, 84, 110), (150, 146, 138), (38, 38, 40), (90, 104, 80),
)  # fmt: skip
_ORANGES: tuple[Color, ...] = ((238, 106, 30), (220, 70, 32), (250, 140, 40))


@dataclass(frozen=True)
class World:
    """A road and the objects on and along it."""

    road: Road
    things: tuple[Thing, ...]


def draw_world(rng: Rng, domain: Domain, *, roadwork: bool, speed: float) -> World:
    """Return the world of one drive; `speed` is the camera's, in m/s."""
    road = draw_road(rng)
    zone: list[Thing] = []
    if roadwork:
        palette = domain.palettes[int(rng.integers(len(domain.palettes)))]
        zone = draw_zone(rng, road, domain, palette)
    others = [
        *_traffic(rng, road, speed),
        *_lookalikes(rng, road, domain),
        *_street(rng, road),
        *_scenery(rng, road),
    ]
    return World(road=road, things=(*zone, *_without_overlap(others, zone)))


def _without_overlap(others: list[Thing], placed: list[Thing]) -> list[Thing]:
    """Return the objects of `others` that overlap no placed one, in order."""
    occupied = np.array([_footprint(thing) for thing in placed]).reshape(-1, 4)
    placeable = []
    for thing in others:
        x0, x1, z0, z1 = spot = _footprint(thing)
        free = (
            (occupied[:, 0] > x1)
            | (occupied[:, 1] < x0)
            | (occupied[:, 2] > z1)
            | (occupied[:, 3] < z0)
        )
        if free.all() or thing.kind in _SLIM:
            placeable.append(thing)
            occupied = np.vstack([occupied, spot])
    return placeable


def _footprint(thing: Thing) -> tuple[float, float, float, float]:
    """Return the ground area of an object during the drive: minimum and maximum x, then z."""
    reach = thing.speed * _LONGEST_S
    half = thing.width / 2 + 0.1
    near, far = min(reach, 0.0) - 0.4, max(reach, 0.0) + thing.length + 0.4
    return thing.x - half, thing.x + half, thing.z + near, thing.z + far


def _pick(rng: Rng, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _roadside_x(rng: Rng, road: Road, near: float, far: float) -> float:
    """Return a lateral position on either side, beyond the paved road."""
    away = rng.uniform(near, far)
    return float(road.outer_right + away if rng.random() < 0.55 else road.outer_left - away)


def _scenery(rng: Rng, road: Road) -> list[Thing]:
    town = road.paved_verge
    things = []
    for _ in range(int(rng.integers(3, 8)) if town else int(rng.integers(0, 2))):
        wide = rng.uniform(7, 14)
        x = _roadside_x(rng, road, 4 + wide / 2, 9 + wide / 2)
        size = (wide, rng.uniform(5, 15), rng.uniform(8, 16))
        things.append(
            make(rng, "building", x, rng.uniform(14, 95), size, _pick(rng, _WALLS), WHITE)
        )
    leaves = _AUTUMN if rng.random() < 0.2 else _LEAVES
    for _ in range(int(rng.integers(2, 7)) if town else int(rng.integers(7, 15))):
        tall = rng.uniform(1.0, 2.4) if rng.random() < 0.3 else rng.uniform(4, 9)
        size = (tall * rng.uniform(0.6, 1.0), tall, 0.0)
        x = _roadside_x(rng, road, 1.0 + size[0] / 2, 14)
        things.append(make(rng, "tree", x, rng.uniform(10, 95), size, _pick(rng, leaves), GRAY))
    if rng.random() < 0.6:
        x = road.outer_right + 0.8 if rng.random() < 0.5 else road.outer_left - 0.8
        first = rng.uniform(6, 30)
        for i in range(4):
            size = (2.6, 7.5, 0.0)
            things.append(make(rng, "lamp", x, first + 26 * i, size, (96, 98, 102), GRAY))
    return things


def _traffic(rng: Rng, road: Road, our_speed: float) -> list[Thing]:
    """Cars ahead, oncoming cars, and parked cars beyond the edge."""
    things = []
    for _ in range(int(rng.integers(0, 4))):
        lane = int(rng.integers(round((road.right - road.left) / LANE_M)))
        x = road.left + LANE_M * (lane + 0.5)
        if abs(x) < 1:  # ahead of the camera, and at least as fast
            z, speed = rng.uniform(12, 60), our_speed + rng.uniform(0, 1.5)
        elif x > road.parting:
            z, speed = rng.uniform(8, 60), rng.uniform(0.5, 7)
        else:
            z, speed = rng.uniform(10, 80), -rng.uniform(2, 9)
        things.append(_vehicle(rng, x + rng.uniform(-0.3, 0.3), z, speed))
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            x = road.outer_right + 0.6 + rng.uniform(0, 0.6)
            things.append(_vehicle(rng, x, rng.uniform(8, 60), 0.0))
    return things


def _vehicle(rng: Rng, x: float, z: float, speed: float) -> Thing:
    paint = _pick(rng, _PAINTS)
    draw = rng.random()
    if draw < 0.66:
        size = (rng.uniform(1.7, 1.95), rng.uniform(1.42, 1.85), rng.uniform(3.9, 4.8))
        return make(rng, "car", x, z, size, paint, WHITE, speed=speed)
    if draw < 0.92:
        size = (rng.uniform(1.9, 2.5), rng.uniform(2.1, 3.7), rng.uniform(5, 9))
        return make(rng, "truck", x, z, size, paint, _pick(rng, _PAINTS), speed=speed)
    size = (2.5, rng.uniform(2.9, 3.3), rng.uniform(9, 12))
    return make(rng, "bus", x, z, size, paint, WHITE, speed=speed)


def _street(rng: Rng, road: Road) -> list[Thing]:
    """Ordinary signs and people of any street."""
    things: list[Thing] = []
    for _ in range(int(rng.integers(0, 3))):
        things += _ordinary_sign(rng, _roadside_x(rng, road, 0.5, 1.6), rng.uniform(10, 75))
    for _ in range(int(rng.integers(0, 3)) if road.paved_verge else int(rng.random() < 0.2)):
        size = (0.62, rng.uniform(1.55, 1.9), 0.0)
        x = _roadside_x(rng, road, 0.5, 3.0)
        z = rng.uniform(8, 60)
        things.append(make(rng, "pedestrian", x, z, size, _pick(rng, _CLOTHES), (60, 50, 44)))
    return things


def _ordinary_sign(rng: Rng, x: float, z: float) -> list[Thing]:
    base = rng.uniform(1.7, 2.3)
    kind, body, size = [
        ("stop_sign", (186, 24, 34), (0.75, 0.75, 0.0)),
        ("warning_sign", (246, 206, 40), (0.9, 0.9, 0.0)),
        ("plate_sign", (240, 240, 238), (0.6, 0.75, 0.0)),
        ("plate_sign", (28, 84, 160), (0.8, 0.6, 0.0)),
        ("plate_sign", (22, 110, 70), (1.8, 0.9, 0.0)),
    ][int(rng.integers(5))]
    pole = make(rng, "post", x, z + 0.05, (0.07, base + size[1] * 0.9, 0.0), (120, 122, 124), GRAY)
    return [pole, make(rng, kind, x, z, size, body, WHITE, base=base)]


def _lookalikes(rng: Rng, road: Road, domain: Domain) -> list[Thing]:
    """Objects in the colors or shape of road work."""
    things: list[Thing] = []
    for _ in range(int(rng.poisson(domain.lookalikes))):
        z = float(rng.uniform(9, 60))
        x = _roadside_x(rng, road, 0.2, 2.6)
        variant = int(rng.integers(8))
        orange = _pick(rng, _ORANGES)
        if variant == 0:
            things += [
                make(rng, "bag", x + i * 0.5, z + i * 0.2, (0.5, 0.55, 0.0), orange, GRAY)
                for i in range(int(rng.integers(1, 4)))
            ]
        elif variant == 1:
            ring = WHITE if rng.random() < 0.7 else (230, 190, 60)
            body = orange if rng.random() < 0.5 else (90, 92, 96)
            size = (rng.uniform(0.12, 0.26), rng.uniform(0.7, 1.1), 0.0)
            things += [make(rng, "bollard", x, z + 2.5 * i, size, body, ring) for i in range(4)]
        elif variant == 2:
            things.append(make(rng, "postbox", x, z, (0.55, 1.25, 0.0), orange, WHITE))
        elif variant == 3:
            things.append(make(rng, "hydrant", x, z, (0.42, 0.75, 0.0), orange, WHITE))
        elif variant == 4:
            things.append(make(rng, "bin", x, z, (0.6, 1.05, 0.0), orange, _pick(rng, _ORANGES)))
        elif variant == 5:
            things.append(make(rng, "tree", x + 1, z, (1.3, 1.1, 0.0), _pick(rng, _AUTUMN), GRAY))
        elif variant == 6:
            size = (2.4, 3.4, 7.5)
            x = road.outer_right + 1.5
            things.append(make(rng, "truck", x, z, size, _pick(rng, _LOUD_PAINTS), WHITE))
        else:
            clothes = _pick(rng, (*_LOUD_PAINTS, (120, 160, 60)))
            things.append(make(rng, "pedestrian", x, z, (0.62, 1.75, 0.0), clothes, orange))
    return things
