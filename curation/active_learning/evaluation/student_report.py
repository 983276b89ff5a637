"""Comparison of a student with its ensemble: relative precision, and speed.

The share is that of mAP at IoU 0.5 on the same frozen images. Its interval resamples whole drives
[0], the same ones for both models. With fewer than ten drives, the interval is too narrow.

- [0] Field and Welsh, Bootstrapping clustered data, 2007
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.metrics.average_precision import average_precision
from cascade.metrics.bootstrap import ap50_draws
from cascade.predictions import Detections
from curation import formatting
from curation.active_learning.evaluation.frozen_set import FrozenSet

TARGET_SHARE, TARGET_SPEEDUP = 0.9, 3.0
MIN_DRIVES = 10  # as in the gate
_QUANTILES = (0.025, 0.975)
_DRAWS = 1000


@dataclass(frozen=True)
class StudentReport:
    """Metrics of ensemble and student on the same frozen images.

    Attributes:
        images: Number of images.
        drives: Number of drives or source photographs.
        ensemble_map50: mAP of the ensemble at IoU 0.5, in [0, 1]; None if there is no ground truth.
        student_map50: mAP of the student at IoU 0.5.
        share: The student's mAP50 over the ensemble's; None if undefined.
        share_low: Lower end of the 95 % interval of the share; None if undefined.
        share_high: Upper end of the interval.
        ensemble_images_s: Images per second of the ensemble: one decoded image at a time, median.
        student_images_s: Images per second of the student, measured alternately.
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
    def speedup(self) -> float | None:
        """Speed of the student relative to the ensemble."""
        if not self.ensemble_images_s or not self.student_images_s:
            return None
        return self.student_images_s / self.ensemble_images_s

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """Reasons why the target of 90 % at 3 times the speed is not shown; empty if it is."""
        if self.share is None or self.share_low is None:
            return ("the share is undefined: the ensemble detects no object",)
        reasons = []
        if self.share < TARGET_SHARE:
            reasons.append(f"it keeps less than {formatting.percent(TARGET_SHARE)}")
        elif self.share_low < TARGET_SHARE:
            reasons.append(f"the interval reaches below {formatting.percent(TARGET_SHARE)}")
        if self.drives < MIN_DRIVES:
            reasons.append(f"{self.drives} drives are too few, at least {MIN_DRIVES} are needed")
        if self.speedup is None or self.speedup < TARGET_SPEEDUP:
            reasons.append(f"it is not {TARGET_SPEEDUP:g} times as fast")
        return tuple(reasons)

    @property
    def sentence(self) -> str:
        """Summary of the comparison, with its shortfalls."""
        on = f"on {self.images} test images of {self.drives} drives"
        share = "an unknown share"
        if self.share is not None and self.share_low is not None and self.share_high is not None:
            ends = f"{formatting.percent(self.share_low)} to {formatting.percent(self.share_high)}"
            share = f"{formatting.percent(self.share)} (95%: {ends})"
        speed = (
            "an unknown speed" if self.speedup is None else f"{self.speedup:.1f} times its speed"
        )
        target = f"{formatting.percent(TARGET_SHARE)} at {TARGET_SPEEDUP:g} times the speed"
        end = f"is not shown: {'; '.join(self.shortfalls)}." if self.shortfalls else "is kept."
        return f"The student keeps {share} of the ensemble's mAP50 {on}, at {speed}. {target} {end}"


def compare_student(
    ensemble: Sequence[Detections],
    student: Sequence[Detections],
    frozen: FrozenSet,
    classes: Sequence[str],
    milliseconds: Mapping[str, float | None],
    *,
    draws: int = _DRAWS,
) -> StudentReport:
    """Return the comparison of a student with its ensemble.

    Args:
        ensemble: Objects of the ensemble, one value per image.
        student: Objects of the student, one value per image.
        frozen: Images and ground truth.
        classes: Classes of the mAP.
        milliseconds: Latency per image of `ensemble` and `student`.
        draws: Number of bootstrap draws.
    """
    models = (ensemble, student)
    map50 = [average_precision(objects, frozen.truths, classes).map50 for objects in models]
    drawn = [
        ap50_draws(objects, frozen.truths, classes, frozen.drives, draws=draws).map50
        for objects in models
    ]
    is_defined = drawn[0] > 0  # False for NaN
    shares = drawn[1][is_defined] / drawn[0][is_defined]
    low, high = np.quantile(shares, _QUANTILES).tolist() if len(shares) else (None, None)
    rates = [1000 / ms if ms else None for ms in map(milliseconds.get, ("ensemble", "student"))]
    return StudentReport(
        images=len(frozen),
        drives=len(set(frozen.drives)),
        ensemble_map50=map50[0],
        student_map50=map50[1],
        share=None if not map50[0] or map50[1] is None else map50[1] / map50[0],
        share_low=low,
        share_high=high,
        ensemble_images_s=rates[0],
        student_images_s=rates[1],
    )
