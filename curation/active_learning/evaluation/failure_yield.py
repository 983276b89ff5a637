"""How often the ensemble failed on what was labeled: the yield of each arm of a batch.

An image is a failure where the consensus disagrees with the ground truth that it got: the
image decision is wrong, an object was missed, or a box is there that is no object. Boxes count
from probability 0.5, and match at IoU 0.5 within their class.

The random arm's yield is what labeling at random would have found; the hard arm should find
more. It shows where failures are, and no gain: that takes a comparison after training.

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
    """What the consensus got wrong on one image.

    Attributes:
        wrong_decision: The image decision differs from the ground truth's.
        missed: Objects without a box.
        false: Boxes without an object.
    """

    wrong_decision: bool
    missed: int
    false: int

    @property
    def is_failure(self) -> bool:
        """Whether anything is wrong."""
        return self.wrong_decision or self.missed > 0 or self.false > 0


@dataclass(frozen=True)
class Yield:
    """The failures among n labeled images of one arm.

    Attributes:
        n: Images with ground truth.
        failures: Those where anything is wrong.
        wrong_decisions: Those whose image decision is wrong.
        missed: Objects without a box, over all images.
        false: Boxes without an object, over all images.
        lower: Of the share of failures, the lower end of its 95 % interval [0]; in [0, 1].
        upper: The upper end.
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
    """Return what the consensus got wrong on one image.

    Args:
        truth: The ground truth, in canonical classes.
        consensus: The fused boxes, in canonical classes.
        says_yes: The ensemble's image decision; no where nobody voted.
        deciding: The classes whose presence makes the true decision yes.
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
    failures = sum(one.is_failure for one in comparisons)
    lower, upper = wilson(failures, len(comparisons))
    return Yield(
        n=len(comparisons),
        failures=failures,
        wrong_decisions=sum(one.wrong_decision for one in comparisons),
        missed=sum(one.missed for one in comparisons),
        false=sum(one.false for one in comparisons),
        lower=lower,
        upper=upper,
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share [0]; (0, 1) where there is nothing to go by."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _matched(truth: Detections, sure: Detections, label: str) -> int:
    """Return how many objects of one class have a box; the surest box chooses first."""
    objects = truth.boxes_xyxy[np.array(truth.labels) == label]
    found = sure[[i for i, one in enumerate(sure.labels) if one == label]]
    order = np.argsort(-found.scores, kind="stable")
    overlaps = boxes.iou(found.boxes_xyxy[order], objects)
    return int((boxes.match(overlaps, least=MIN_IOU) >= 0).sum())
