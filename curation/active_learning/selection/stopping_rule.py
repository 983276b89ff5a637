"""Stopping rule for rounds, and the cost of labeling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Assumptions from the literature: a box by extreme clicking takes 7 s (Papadopoulos et al., ICCV
# 2017), opening, checking and submitting an image 10 s. Replace both by measured times.
SECONDS_PER_BOX = 7.0
SECONDS_PER_IMAGE = 10.0
ROUNDS = 2


@dataclass(frozen=True)
class Gain:
    """Change of a metric in a round, with its interval."""

    delta: float
    lower: float
    upper: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval contains no change."""
        return self.lower <= 0.0 <= self.upper


@dataclass(frozen=True)
class Cost:
    """Cost of labeling a batch.

    Attributes:
        images: Number of samples in the batch.
        boxes: Expected number of boxes.
        hours: Working hours of one person.
        sentence: Cost and assumptions in words.
    """

    images: int
    boxes: float
    hours: float
    sentence: str


def should_stop(gains: Sequence[Gain | None], *, rounds: int = ROUNDS) -> tuple[bool, str]:
    """Return whether the gains of the last rounds are all noise, and a sentence about them.

    Args:
        gains: Gain of each round, oldest first; None, for a round without a verdict, counts as
            no noise.
        rounds: Number of consecutive rounds without a gain before a stop.
    """
    if len(gains) < rounds:
        return False, f"{len(gains)} of the {rounds} rounds that a stop needs are measured."
    last = gains[-rounds:]
    summary = "; ".join(_describe(gain) for gain in last)
    if all(gain is not None and gain.is_noise for gain in last):
        return True, f"The gains of the last {rounds} rounds are within the noise: {summary}. Stop."
    return (
        False,
        f"The gains of the last {rounds} rounds are not all within the noise: {summary}. Continue.",
    )


def labeling_cost(
    expected_boxes: NDArray[np.floating],
    *,
    seconds_per_box: float = SECONDS_PER_BOX,
    seconds_per_image: float = SECONDS_PER_IMAGE,
) -> Cost:
    """Return the expected cost of labeling a batch.

    Args:
        expected_boxes: Expected boxes in each sample of the batch, shape (B,).
        seconds_per_box: Measured time, or the assumption `SECONDS_PER_BOX`.
        seconds_per_image: Measured time, or the assumption `SECONDS_PER_IMAGE`.
    """
    images, boxes = len(expected_boxes), float(np.nansum(expected_boxes))
    hours = (images * seconds_per_image + boxes * seconds_per_box) / 3600.0
    is_assumed = (seconds_per_box, seconds_per_image) == (SECONDS_PER_BOX, SECONDS_PER_IMAGE)
    source = "assumed, not measured" if is_assumed else "as measured"
    return Cost(
        images=images,
        boxes=boxes,
        hours=hours,
        sentence=(
            f"{images} images with about {boxes:.0f} boxes: {hours:.1f} hours of one person, at "
            f"{seconds_per_box:g} s a box and {seconds_per_image:g} s an image ({source})."
        ),
    )


def _describe(gain: Gain | None) -> str:
    if gain is None:
        return "no verdict"
    return f"{gain.delta:+.3f} in [{gain.lower:+.3f}, {gain.upper:+.3f}]"
