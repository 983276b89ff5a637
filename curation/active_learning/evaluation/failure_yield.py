"""Failure yield of the arms of a batch: the share of labeled images on which the ensemble failed.

An image is a failure if the consensus disagrees with its ground truth: a wrong image decision,
a missed object, or a box without an object. Boxes count from probability 0.5, and match at IoU
0.5 within their class.

The yield of the random arm is that of random labeling; the hard arm should yield more. It
shows the location of failures, not a gain: this takes a comparison after training.

- [0] Wilson, Probable inference, the law of succession, and statistical inference, 1927
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascade.geometry import boxes
from cascade.predictions import Detections

MIN_P = 0.5
MIN_IOU = 0.5
_Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Comparison:
    """Errors of the consensus on one image.

    Attributes:
        wrong_decision: Whether the image decision differs from the ground truth.
        missed: Number of objects without a box.
        false: Number of boxes without an object.
    """

    wrong_decision: bool
    missed: int
    false: int

    @property
    def is_failure(self) -> bool:
        """Whether there is any error."""
        return self.wrong_decision or self.missed > 0 or self.false > 0


@dataclass(frozen=True)
class Yield:
    """Failures among the labeled images of one arm.

    Attributes:
        n: Number of images with ground truth.
        failures: Number of images with any error.
        wrong_decisions: Number of images with a wrong decision.
        missed: Number of objects without a box, over all images.
        false: Number of boxes without an object, over all images.
        lower: Lower end of the 95 % interval of the share of failures [0], in [0, 1].
        upper: Upper end of the interval.
    """

    n: int
    failures: int
    wrong_decisions: int
    missed: int
    false: int
    lower: float
    upper: float


def compare(
    truth: Detections, consensus: Detections, *, says_yes: bool, deciding: Sequence[str]
) -> Comparison:
    """Return the errors of the consensus on one image.

    Args:
        truth: Ground truth, in canonical classes.
        consensus: Fused boxes, in canonical classes.
        says_yes: Image decision of the ensemble; no without votes.
        deciding: Classes whose presence makes the true decision yes.
    """
    is_yes = any(label in set(deciding) for label in truth.labels)
    sure = consensus[consensus.scores >= MIN_P]
    matched = sum(_matched(truth, sure, name) for name in set(truth.labels))
    return Comparison(
        wrong_decision=says_yes != is_yes,
        missed=len(truth) - matched,
        false=len(sure) - matched,
    )


def arm_yield(comparisons: Sequence[Comparison]) -> Yield:
    """Return the yield of the images of one arm."""
    failures = sum(comparison.is_failure for comparison in comparisons)
    lower, upper = wilson(failures, len(comparisons))
    return Yield(
        n=len(comparisons),
        failures=failures,
        wrong_decisions=sum(comparison.wrong_decision for comparison in comparisons),
        missed=sum(comparison.missed for comparison in comparisons),
        false=sum(comparison.false for comparison in comparisons),
        lower=lower,
        upper=upper,
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share [0]; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, _Z**2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return max(center - half, 0.0), min(center + half, 1.0)


def _matched(truth: Detections, sure: Detections, label: str) -> int:
    """Return the number of objects of a class with a box, matched by descending score."""
    objects = truth.boxes_xyxy[np.array(truth.labels) == label]
    candidates = sure[np.array([other == label for other in sure.labels], bool)]
    order = np.argsort(-candidates.scores, kind="stable")
    overlaps = boxes.iou(candidates.boxes_xyxy[order], objects)
    return int((boxes.match(overlaps, least=MIN_IOU) >= 0).sum())
