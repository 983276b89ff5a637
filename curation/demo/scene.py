"""Rendered image with its ground truth and conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 640, 360  # image size in pixels

CLASSES = ("cone", "drum", "barricade", "sign", "worker", "vehicle", "work_vehicle")
"""Labeled classes, in the names and order of the taxonomy `roadwork`."""

ROADWORK = frozenset(CLASSES) - {"vehicle"}
"""Classes that make an image positive."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One frame of a drive.

    Attributes:
        image: RGB, uint8, shape (HEIGHT, WIDTH, 3).
        boxes_xyxy: Corners of the N boxes relative to the image, shape (N, 4), float32, in [0, 1].
        labels: The N class names, each of `CLASSES`.
        drive: Name of the drive, e.g. `drive0003`.
        frame: Position within the drive, from 0.
        time_s: Seconds since the first frame of the drive.
        time_of_day: `day` or `night`, the same for the whole drive.
        weather: `clear`, `rain`, `glare` or `fog`, the same for the whole drive.
    """

    image: NDArray[np.uint8]
    boxes_xyxy: NDArray[np.float32]
    labels: tuple[str, ...]
    drive: str
    frame: int
    time_s: float
    time_of_day: str
    weather: str

    @property
    def has_roadwork(self) -> bool:
        """Whether the image shows road work."""
        return not ROADWORK.isdisjoint(self.labels)
