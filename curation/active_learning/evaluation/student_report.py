"""What a student keeps of its ensemble: a share of its precision, and how much faster it is.

The share is that of mAP at IoU 0.5 on the same frozen images. Its interval resamples whole drives
[0], each time the same ones for both; with fewer than ten drives it is too narrow to show anything.

- [0] Field and Welsh, Bootstrapping clustered data, 2007
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.metrics.average_precision import average_precision
from cascade.metrics.bootstrap import map50_draws
from cascade.predictions import Detections
from curation import formatting
from curation.active_learning.evaluation.frozen_set import FrozenSet

PROMISED_SHARE, PROMISED_TIMES = 0.9, 3.0
LEAST_DRIVES = 10  # as the gate has it
_ENDS = (0.025, 0.975)
_DRAWS = 1000


@dataclass(frozen=True)
class StudentReport:
    """Ensemble and student on the same frozen images.

    Attributes:
        images: How many.
        drives: Of how many drives or source photographs.
        ensemble_map50: mAP at IoU 0.5, in [0, 1]; None without any ground truth.
        student_map50: The same.
        share: The student's mAP50 over the ensemble's; None where the ensemble has none.
        share_low: Lower end of its 95 % interval; None where it is not defined.
        share_high: Upper end.
        ensemble_images_s: Images per second, one at a time, decoded before; the median image.
        student_images_s: The same, taken in turns with the ensemble.
    """

    images: int
    drives: int
    ensemble_map50: float | None
    student_map50: float | None
    share: float | None
    share_low: float | None
    share_high: float | None
    ensemble_images_s: float | None
    student_images_s: float | None

    @property
    def times(self) -> float | None:
        """How many times as fast as the ensemble the student is."""
        if not self.ensemble_images_s or not self.student_images_s:
            return None
        return self.student_images_s / self.ensemble_images_s

    @property
    def lacks(self) -> tuple[str, ...]:
        """Why it is not shown that 90 % is kept at 3 times the speed; empty where it is."""
        if self.share is None or self.share_low is None:
            return ("the ensemble finds nothing there, so there is no share",)
        reasons = []
        if self.share < PROMISED_SHARE:
            reasons.append(f"it keeps less than {formatting.percent(PROMISED_SHARE)}")
        elif self.share_low < PROMISED_SHARE:
            reasons.append(f"the interval reaches below {formatting.percent(PROMISED_SHARE)}")
        if self.drives < LEAST_DRIVES:
            reasons.append(f"{self.drives} drives are too few, at least {LEAST_DRIVES} are needed")
        if self.times is None or self.times < PROMISED_TIMES:
            reasons.append(f"it is not {PROMISED_TIMES:g} times as fast")
        return tuple(reasons)

    @property
    def sentence(self) -> str:
        """What the figures say, and what they do not."""
        on = f"on {self.images} test images of {self.drives} drives"
        share = "an unknown share"
        if self.share is not None and self.share_low is not None and self.share_high is not None:
            ends = f"{formatting.percent(self.share_low)} to {formatting.percent(self.share_high)}"
            share = f"{formatting.percent(self.share)} (95%: {ends})"
        speed = "an unknown speed" if self.times is None else f"{self.times:.1f} times its speed"
        asked = f"{formatting.percent(PROMISED_SHARE)} at {PROMISED_TIMES:g} times the speed"
        end = f"is not shown: {'; '.join(self.lacks)}." if self.lacks else "is kept."
        return f"The student keeps {share} of the ensemble's mAP50 {on}, at {speed}. {asked} {end}"


def compare_student(
    ensemble: Sequence[Detections],
    student: Sequence[Detections],
    frozen: FrozenSet,
    classes: Sequence[str],
    milliseconds: Mapping[str, float | None],
    *,
    draws: int = _DRAWS,
) -> StudentReport:
    """Compare what both found in the same images.

    Args:
        ensemble: The ensemble's objects, one value an image.
        student: The student's.
        frozen: The images and their ground truth.
        classes: The names that count.
        milliseconds: For one image, of `ensemble` and of `student`.
        draws: Of drives.
    """
    of_both = [average_precision(one, frozen.truths, classes).map50 for one in (ensemble, student)]
    drawn = [
        map50_draws(one, frozen.truths, classes, frozen.drives, draws=draws)
        for one in (ensemble, student)
    ]
    defined = drawn[0] > 0  # NaN is not
    shares = drawn[1][defined] / drawn[0][defined]
    ends = np.quantile(shares, _ENDS).tolist() if len(shares) else [None, None]
    rates = [1000 / ms if ms else None for ms in map(milliseconds.get, ("ensemble", "student"))]
    return StudentReport(
        images=len(frozen),
        drives=len(set(frozen.drives)),
        ensemble_map50=of_both[0],
        student_map50=of_both[1],
        share=None if not of_both[0] or of_both[1] is None else of_both[1] / of_both[0],
        share_low=ends[0],
        share_high=ends[1],
        ensemble_images_s=rates[0],
        student_images_s=rates[1],
    )
