"""Drives: short sequences of similar frames along one road."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from curation.demo.backdrop import Backdrop
from curation.demo.camera import Camera
from curation.demo.conditions import draw_conditions, has_roadwork
from curation.demo.domain import DEPLOYMENT, Domain
from curation.demo.frame import boxes, populate
from curation.demo.lens import Lens
from curation.demo.scene import HEIGHT, WIDTH, Scene
from curation.demo.world import draw_world

FRAME_S = 0.5  # time between frames
FRAMES = (4, 12)  # minimum and maximum per drive
_STANDING = 0.15  # share of drives in a traffic jam
_WORLD, _LOOK, _MOTION, _FRAME = 4, 5, 6, 7  # streams of random numbers


def scenes(n_drives: int, seed: int, domain: Domain = DEPLOYMENT) -> Iterator[Scene]:
    """Yield all frames of the first drives, drive by drive."""
    for drive_index in range(n_drives):
        yield from drive_scenes(seed, drive_index, domain=domain)


def drive_scenes(
    seed: int, drive_index: int, *, domain: Domain = DEPLOYMENT, n_frames: int | None = None
) -> Iterator[Scene]:
    """Yield the frames of one drive, in order of time.

    The same arguments give the same bytes. Consecutive drives keep the domain's shares of road
    work, night and weather as closely as possible.

    Args:
        seed: Random seed of the rendered world.
        drive_index: Index of the drive, from 0.
        domain: Distribution that the drive is drawn from.
        n_frames: Number of frames; None draws 4 to 12.
    """
    stream = [seed, crc32(domain.name.encode()), drive_index]
    conditions = draw_conditions(seed, drive_index, domain)
    roadwork = has_roadwork(seed, drive_index, domain)
    motion = _Motion.draw(np.random.default_rng([*stream, _MOTION]))
    world = draw_world(
        np.random.default_rng([*stream, _WORLD]), domain, roadwork=roadwork, speed=motion.speed
    )
    look = np.random.default_rng([*stream, _LOOK])
    backdrop, lens = Backdrop(world.road, conditions, look), Lens(conditions, look)
    for frame_index in range(motion.n_frames if n_frames is None else n_frames):
        rng = np.random.default_rng([*stream, _FRAME, frame_index])
        time_s = frame_index * FRAME_S
        camera, at_m = motion.camera(rng, world.road.bend), motion.speed * time_s
        frame = populate(
            backdrop.paint(camera, at_m), world.things, camera, conditions, at_m, time_s
        )
        boxes_xyxy, labels = boxes(frame, conditions.noise)
        yield Scene(
            image=lens.take(frame.image, frame.glows, rng),
            boxes_xyxy=boxes_xyxy,
            labels=labels,
            drive=f"drive{drive_index:04d}",
            frame=frame_index,
            time_s=time_s,
            time_of_day=conditions.time_of_day,
            weather=conditions.weather,
        )


@dataclass(frozen=True)
class _Motion:
    """Camera mount and speed in m/s."""

    speed: float
    n_frames: int
    center_px: float
    horizon_px: float
    shake_px: float

    @staticmethod
    def draw(rng: np.random.Generator) -> _Motion:
        standing = rng.random() < _STANDING
        return _Motion(
            speed=0.0 if standing else float(rng.uniform(1.0, 5.5)),
            n_frames=int(rng.integers(FRAMES[0], FRAMES[1] + 1)),
            center_px=WIDTH / 2 + float(rng.uniform(-28, 28)),
            horizon_px=HEIGHT * float(rng.uniform(0.42, 0.52)),
            shake_px=0.3 if standing else float(rng.uniform(0.4, 1.6)),
        )

    def camera(self, rng: np.random.Generator, bend: float) -> Camera:
        sideways, up = rng.normal(0, self.shake_px, 2).clip(-3, 3)
        return Camera(self.center_px + float(sideways), self.horizon_px + float(up), bend)
