"""Whether another round is worth its labels, and what the labels cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Assumptions, from the literature and not from your labelers: a box by extreme clicking takes
# 7 s (Papadopoulos et al., ICCV 2017), a look at an image that is opened, checked and sent off
# 10 s. Replace both by measured lead times as soon as there are any.
SECONDS_PER_BOX = 7.0
SECONDS_PER_IMAGE = 10.0
ROUNDS = 2


@dataclass(frozen=True)
class Gain:
    """What a round brought: the change of a metric, and the interval that it lies in."""

    delta: float
    lower: float
    upper: float

    @property
    def is_noise(self) -> bool:
        """Whether no change at all is as likely."""
        return self.lower <= 0.0 <= self.upper


@dataclass(frozen=True)
class Cost:
    """What labeling a batch will take.

    Attributes:
        images: Samples in the batch.
        boxes: Boxes expected in them.
        hours: Of one person.
        sentence: The same in words, with what was assumed.
    """

    images: int
    boxes: float
    hours: float
    sentence: str


def should_stop(gains: Sequence[Gain | None], *, rounds: int = ROUNDS) -> tuple[bool, str]:
    """Return whether the last rounds all stayed inside the noise, and a sentence on it.

    Args:
        gains: Of each round, oldest first; None where a round had no verdict, which argues
            neither for stopping nor against and counts as a round outside the noise.
        rounds: How many rounds in a row must have stayed inside the noise.
    """
    if len(gains) < rounds:
        return False, f"{len(gains)} of the {rounds} rounds that a stop needs are measured."
    last = gains[-rounds:]
    told = "; ".join(_tell(one) for one in last)
    if all(one is not None and one.is_noise for one in last):
        return True, f"The last {rounds} rounds changed nothing that noise would not: {told}. Stop."
    return False, f"The last {rounds} rounds are not all inside the noise: {told}. Go on."


def labeling_cost(
    expected_boxes: NDArray[np.floating],
    *,
    seconds_per_box: float = SECONDS_PER_BOX,
    seconds_per_image: float = SECONDS_PER_IMAGE,
) -> Cost:
    """Return what labeling will cost.

    Args:
        expected_boxes: Boxes expected in each sample of the batch, shape (B,).
        seconds_per_box: Measured, or the assumption `SECONDS_PER_BOX`.
        seconds_per_image: Measured, or the assumption `SECONDS_PER_IMAGE`.
    """
    images, boxes = len(expected_boxes), float(np.nansum(expected_boxes))
    hours = (images * seconds_per_image + boxes * seconds_per_box) / 3600.0
    assumed = (seconds_per_box, seconds_per_image) == (SECONDS_PER_BOX, SECONDS_PER_IMAGE)
    source = "assumed, not measured" if assumed else "as measured"
    return Cost(
        images=images,
        boxes=boxes,
        hours=hours,
        sentence=(
            f"{images} images with about {boxes:.0f} boxes: {hours:.1f} hours of one person, at "
            f"{seconds_per_box:g} s a box and {seconds_per_image:g} s an image ({source})."
        ),
    )


def _tell(gain: Gain | None) -> str:
    if gain is None:
        return "no verdict"
    return f"{gain.delta:+.3f} in [{gain.lower:+.3f}, {gain.upper:+.3f}]"
