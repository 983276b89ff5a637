"""Hard negatives: confident boxes of the ensemble without a true object.

A window around each becomes an additional training image, with the true objects inside, which
shows the member its false positives more often and at a larger scale.

- [0] Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining,
  CVPR 2016
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascade.errors import TrainingError
from cascade.geometry import boxes
from cascade.predictions import Detections
from cascade.training.augmentation.augment import Corners
from cascade.training.examples import Example

MIN_SCORE = 0.5  # calibrated probability
MAX_IOU = 0.1  # with any true object; above it, the box may be that object with a poor position
MIN_SIDE = 0.3  # of a window, relative to the image
_SCALE = 3.0  # side of a window relative to the box


@dataclass(frozen=True)
class HardNegative:
    """A confident box without a true object.

    Attributes:
        image: Index of the image.
        box: Relative corners `x1, y1, x2, y2`.
        score: Score of the ensemble.
        label: Class of the ensemble.
    """

    image: int
    box: Corners
    score: float
    label: str


def find_hard_negatives(
    predictions: Sequence[Detections], truths: Sequence[Detections], *, min_score: float = MIN_SCORE
) -> list[HardNegative]:
    """Return the confident boxes far from every true object, by descending score.

    Args:
        predictions: Predictions of the ensemble on labeled images, with calibrated scores.
        truths: Ground truth of the images.
        min_score: Minimal score.

    Raises:
        TrainingError: The numbers of predictions and truths differ.
    """
    if len(predictions) != len(truths):
        raise TrainingError(
            "predictions and truths must cover the same images, "
            f"got {len(predictions)} and {len(truths)}."
        )
    negatives = []
    for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        overlap = boxes.iou(prediction.boxes_xyxy, truth.boxes_xyxy).max(axis=1, initial=0.0)
        false = prediction[(prediction.scores >= min_score) & (overlap <= MAX_IOU)]
        negatives += [
            HardNegative(i, (x1, y1, x2, y2), score, label)
            for (x1, y1, x2, y2), score, label in zip(
                false.boxes_xyxy.tolist(), false.scores.tolist(), false.labels, strict=True
            )
        ]
    return sorted(negatives, key=lambda negative: -negative.score)


def hard_negative_examples(
    train: Sequence[Example], negatives: Sequence[HardNegative], *, share: float = 0.25
) -> list[Example]:
    """Return windows around the most confident hard negatives.

    Args:
        train: Labeled images that were searched.
        negatives: Output of `find_hard_negatives`.
        share: Maximal number of windows, relative to the number of images.
    """
    n = round(share * len(train))
    usable = [negative for negative in negatives if train[negative.image].window is None]
    return [
        Example(
            train[negative.image].image,
            train[negative.image].target,
            window=window_around(negative.box),
        )
        for negative in usable[:n]
    ]


def window_around(box: Corners) -> Corners:
    """Return a window within the image, centered on the box unless the border prevents it."""
    low, high = np.array(box[:2], np.float64), np.array(box[2:], np.float64)
    side = np.clip(_SCALE * (high - low).max(), MIN_SIDE, 1.0)
    side = np.maximum(side, high - low)  # each direction contains the box
    start = np.clip((low + high - side) / 2, 0.0, 1.0 - side)
    stop = start + side
    return float(start[0]), float(start[1]), float(stop[0]), float(stop[1])
