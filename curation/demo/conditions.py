"""Light, weather and camera quality of a drive, drawn from a domain."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, floor

import numpy as np

from curation.demo.domain import Color, Domain

_GOLDEN, _SILVER = 5**0.5 / 2 - 0.5, 2**0.5 - 1
"""Irrational steps: their multiples fill [0, 1) evenly, even for few drives."""


@dataclass(frozen=True)
class Conditions:
    """Lighting and visibility of one drive.

    Attributes:
        time_of_day: `day` or `night`.
        weather: `clear`, `rain`, `glare` or `fog`.
        ambient: Ambient light, RGB factors; 1 is a bright day.
        headlight: Strength of the ego vehicle's headlights, 0 by day.
        visibility_m: Distance at which 37 % of the contrast remains.
        haze: Color of the haze.
        sunny: Whether objects cast shadows.
        sun: Direction of the light, -1 (left) to 1 (right).
        wet: Reflectivity of the wet road, in [0, 1].
        noise: Standard deviation of the sensor noise, gray levels.
        blur_px: Length of the motion blur; 1 for no blur.
        jpeg: Quality of the camera's JPEG compression, 0..100; 0 for no compression.
        gain: White balance and exposure, RGB factors.
    """

    time_of_day: str
    weather: str
    ambient: tuple[float, float, float]
    headlight: float
    visibility_m: float
    haze: Color
    sunny: bool
    sun: float
    wet: float
    noise: float
    blur_px: int
    jpeg: int
    gain: tuple[float, float, float]

    @property
    def night(self) -> bool:
        """Whether it is dark."""
        return self.time_of_day == "night"

    def clearness(self, depth_m: float) -> float:
        """Return the share of the contrast that remains at a distance, in [0, 1]."""
        return exp(-depth_m / self.visibility_m)

    def beam(self, depth_m: float, slope: float) -> float:
        """Return the headlight intensity at an object.

        Args:
            depth_m: Distance of the object.
            slope: Lateral offset divided by distance.
        """
        return self.headlight * exp(-depth_m / 26.0) * exp(-((slope / 0.42) ** 2))


def has_roadwork(seed: int, drive_index: int, domain: Domain) -> bool:
    """Return whether a drive has road work; such drives are evenly spaced."""
    offset = float(np.random.default_rng([seed, 1]).random())
    share = domain.roadwork
    return floor((drive_index + 1) * share + offset) > floor(drive_index * share + offset)


def draw_conditions(seed: int, drive_index: int, domain: Domain) -> Conditions:
    """Return the conditions of a drive."""
    offsets = np.random.default_rng([seed, 2]).random(2)
    night = (offsets[0] + drive_index * _SILVER) % 1.0 < domain.night
    weather = _pick(domain.weathers, (offsets[1] + drive_index * _GOLDEN) % 1.0)
    rng = np.random.default_rng([seed, drive_index, 3])
    poor = bool(rng.random() < domain.degraded)
    return (_by_night if night else _by_day)(weather, poor, rng)


def _by_day(weather: str, poor: bool, rng: np.random.Generator) -> Conditions:
    brightness = {"clear": 1.0, "glare": 0.62, "rain": 0.66, "fog": 0.86}[weather]
    brightness *= rng.uniform(0.86, 1.06)
    warm = rng.uniform(-0.05, 0.05) + (0.07 if weather == "glare" else 0.0)
    visibility = {"clear": 700.0, "glare": 190.0, "rain": 95.0, "fog": 34.0}[weather]
    gray = int(rng.integers(186, 214)) - (34 if weather == "rain" else 0)
    haze = (gray, gray + 4, gray + 9) if weather != "glare" else (242, 226, 196)
    return Conditions(
        time_of_day="day",
        weather=weather,
        ambient=(brightness * (1 + warm), brightness, brightness * (1 - warm)),
        headlight=0.0,
        visibility_m=visibility * rng.uniform(0.8, 1.3),
        haze=haze,
        sunny=weather == "glare" or (weather == "clear" and bool(rng.random() < 0.65)),
        sun=float(rng.uniform(-1, 1)),
        wet=float(rng.uniform(0.25, 0.5)) if weather == "rain" else 0.0,
        noise=float(rng.uniform(5, 10) if poor else rng.uniform(1.5, 4)),
        blur_px=int(rng.integers(3, 6)) if poor else 1,
        jpeg=int(rng.integers(28, 50)) if poor else int(rng.integers(70, 92)),
        gain=_gain(rng, 0.08),
    )


def _by_night(weather: str, poor: bool, rng: np.random.Generator) -> Conditions:
    lamps = float(rng.uniform(0.1, 0.32))
    gray = {"fog": 70, "rain": 40, "glare": 44, "clear": 28}[weather]
    visibility = {"clear": 260.0, "glare": 130.0, "rain": 80.0, "fog": 30.0}[weather]
    return Conditions(
        time_of_day="night",
        weather=weather,
        ambient=(lamps * 1.1, lamps * 0.95, lamps * 0.85),
        headlight=float(rng.uniform(0.65, 1.05)),
        visibility_m=visibility * rng.uniform(0.8, 1.3),
        haze=(gray, gray, gray + 4),
        sunny=False,
        sun=0.0,
        wet=float(rng.uniform(0.35, 0.6)) if weather == "rain" else 0.0,
        noise=float(rng.uniform(9, 15) if poor else rng.uniform(5, 9)),
        blur_px=int(rng.integers(3, 8)) if poor else int(rng.integers(1, 4)),
        jpeg=int(rng.integers(28, 50)) if poor else int(rng.integers(60, 88)),
        gain=_gain(rng, 0.12),
    )


def _gain(rng: np.random.Generator, spread: float) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(1 - spread, 1 + spread) * rng.uniform(0.96, 1.04, 3)
    return float(red), float(green), float(blue)


def _pick(shares: tuple[tuple[str, float], ...], point: float) -> str:
    """Return the name whose share of [0, 1) contains the point."""
    reached = 0.0
    for name, share in shares:
        reached += share
        if point < reached:
            return name
    return shares[-1][0]
