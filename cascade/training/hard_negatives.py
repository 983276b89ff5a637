"""Look-alikes: where the ensemble is sure and the truth says no.

A window around each becomes one more training image, with whatever true objects it holds, so that
the member sees what it takes for an object more often, and larger.

- [0] Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining,
  CVPR 2016
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascade.arrays import FloatArray
from cascade.errors import TrainingError
from cascade.geometry import boxes
from cascade.predictions import Detections
from cascade.training.examples import Example

SURE = 0.5  # calibrated probability from which on a false box is a look-alike
APART = 0.1  # IoU with any true object above which it may be that object, badly placed
LEAST_SIDE = 0.3  # of a window, relative to the image
_AROUND = 3.0  # times the look-alike's own side


@dataclass(frozen=True)
class LookAlike:
    """One of them.

    Attributes:
        image: The number of the image.
        box: Relative corners `x1, y1, x2, y2`.
        score: How sure the ensemble is.
        label: What it took it for.
    """

    image: int
    box: tuple[float, float, float, float]
    score: float
    label: str


def look_alikes(
    found: Sequence[Detections], truths: Sequence[Detections], *, sure: float = SURE
) -> list[LookAlike]:
    """Return the boxes far from every true object that the ensemble is sure of, surest first.

    Args:
        found: What the ensemble says about labeled images, with calibrated scores.
        truths: Their ground truth.
        sure: The least score.

    Raises:
        TrainingError: There is not one answer for each image.
    """
    if len(found) != len(truths):
        raise TrainingError(
            f"found and truths must be of the same images, got {len(found)} and {len(truths)}."
        )
    mined = []
    for i, (said, truth) in enumerate(zip(found, truths, strict=True)):
        overlap = boxes.iou(said.boxes_xyxy, truth.boxes_xyxy).max(axis=1, initial=0.0)
        wrong = said[(said.scores >= sure) & (overlap <= APART)]
        mined += [
            LookAlike(i, _corners(box), float(score), label)
            for box, score, label in zip(wrong.boxes_xyxy, wrong.scores, wrong.labels, strict=True)
        ]
    return sorted(mined, key=lambda one: -one.score)


def examples(
    train: Sequence[Example], mined: Sequence[LookAlike], *, share: float = 0.25
) -> list[Example]:
    """Return the windows around the surest look-alikes, at most `share` times as many as images.

    Args:
        train: The labeled images that were mined.
        mined: As `look_alikes` returned.
        share: Of the number of images.
    """
    most = round(share * len(train))
    whole = [one for one in mined if train[one.image].window is None]
    return [
        Example(train[one.image].image, train[one.image].target, window=window_of(one.box))
        for one in whole[:most]
    ]


def window_of(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return a window within the image, the box in its middle where the border allows it."""
    low, high = np.array(box[:2], np.float64), np.array(box[2:], np.float64)
    side = np.clip(_AROUND * (high - low).max(), LEAST_SIDE, 1.0)
    side = np.maximum(side, high - low)  # each direction at least the box itself
    start = np.clip((low + high - side) / 2, 0.0, 1.0 - side)
    stop = start + side
    return float(start[0]), float(start[1]), float(stop[0]), float(stop[1])


def _corners(box: FloatArray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(one) for one in box)
    return x1, y1, x2, y2
