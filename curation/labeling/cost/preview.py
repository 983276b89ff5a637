"""What labeling a batch will cost, and whether it is worth it: said before anything is sent.

Time is a·images + b·boxes. Where people were measured, a and b are fitted so that breaks and
forgotten windows do not count [0]; else they are assumed, and the preview says so.

- [0] Cauchy loss; Holland and Welsch, Robust regression using iteratively reweighted
  least-squares, 1977
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from cascade.arrays import FloatArray
from curation.active_learning.selection import stopping_rule
from curation.active_learning.selection.stopping_rule import (
    SECONDS_PER_BOX,
    SECONDS_PER_IMAGE,
    Cost,
    Gain,
)

_ENOUGH = 8  # measurements, to tell what a box takes from what an image takes
_TO_SIGMA = 1.4826  # of a normal distribution: from the median absolute deviation


@dataclass(frozen=True)
class Timed:
    """Labeling that was measured: one image, or a whole round."""

    images: int
    boxes: int
    seconds: float


@dataclass(frozen=True)
class Rates:
    """How long people take, and where that is known from.

    Attributes:
        seconds_per_image: To open, look at and send off an image.
        seconds_per_box: To draw or correct a box.
        source: A sentence.
    """

    seconds_per_image: float
    seconds_per_box: float
    source: str


@dataclass(frozen=True)
class Preview:
    """What is known before the push.

    Attributes:
        images: Samples that would be labeled.
        chosen: Whether they were chosen already; else they stand for those that would be.
        cost: Boxes and hours.
        rates: What the hours rest on.
        stop: Whether the last rounds were not worth their labels.
        advice: The same in a sentence.
    """

    images: int
    chosen: bool
    cost: Cost
    rates: Rates
    stop: bool
    advice: str


def preview(
    expected_boxes: FloatArray,
    timed: Sequence[Timed],
    gains: Sequence[Gain | None],
    *,
    chosen: bool,
) -> Preview:
    """Return what labeling will take, and whether the last rounds speak for it.

    Args:
        expected_boxes: Boxes expected in each sample of the batch, shape (B,).
        timed: What was measured of earlier labeling.
        gains: Of each finished round, oldest first.
        chosen: Whether these samples were chosen already.
    """
    known = rates(timed)
    cost = stopping_rule.labeling_cost(
        expected_boxes,
        seconds_per_box=known.seconds_per_box,
        seconds_per_image=known.seconds_per_image,
    )
    stop, advice = stopping_rule.should_stop(gains)
    return Preview(len(expected_boxes), chosen, cost, known, stop, advice)


def rates(timed: Sequence[Timed]) -> Rates:
    """Return seconds per image and per box, measured where there is anything to measure."""
    usable = [one for one in timed if one.images > 0 and one.seconds > 0]
    if not usable:
        return Rates(
            SECONDS_PER_IMAGE,
            SECONDS_PER_BOX,
            "Nobody's time was measured yet: the rates are assumptions from the literature.",
        )
    n = np.array([[one.images, one.boxes] for one in usable], np.float64)
    seconds = np.array([one.seconds for one in usable])
    images = int(n[:, 0].sum())
    start = np.array([SECONDS_PER_IMAGE, SECONDS_PER_BOX])
    start *= np.median(seconds / (n @ start))
    if len(usable) < _ENOUGH or np.ptp(n[:, 1] / n[:, 0]) == 0:
        source = (
            f"Measured on {images} images, too few or too alike to tell boxes from images: the "
            "assumed rates, scaled to what was measured."
        )
        return Rates(round(float(start[0]), 1), round(float(start[1]), 1), source)
    per_image, per_box = _fit(n, seconds, start)
    source = f"Measured on {images} images, breaks left out."
    return Rates(round(per_image, 1), round(per_box, 1), source)


def timed_rounds(records: Iterable[Mapping[str, Any]]) -> list[Timed]:
    """Return what the records of rounds say; a round that was measured in part says nothing."""
    found = []
    for record in records:
        summary = record.get("stages", {}).get("label", {}).get("summary", {})
        seconds, labeled = summary.get("seconds"), summary.get("labeled")
        if seconds and labeled and summary.get("new") == labeled:
            found.append(Timed(int(labeled), int(summary["boxes"]), float(seconds)))
    return found


def timed_samples(rows: Iterable[Mapping[str, Any]]) -> list[Timed]:
    """Return what notes on samples say: every submission whose time was measured.

    Args:
        rows: `versions` of each sample, with `seconds` and `labels`.
    """
    return [
        Timed(1, len(version["labels"]), float(version["seconds"]))
        for row in rows
        for version in row.get("versions", ())
        if version.get("seconds")
    ]


def gains(verdicts: Iterable[Mapping[str, Any] | None]) -> list[Gain | None]:
    """Return what each finished round brought, from its verdict; None where it had none."""
    return [
        Gain(float(one["delta_mcc"]), float(one["lower"]), float(one["upper"]))
        if one and None not in (one.get("delta_mcc"), one.get("lower"), one.get("upper"))
        else None
        for one in verdicts
    ]


def _fit(n: FloatArray, seconds: FloatArray, start: FloatArray) -> tuple[float, float]:
    """Return a and b of the Cauchy regression; of m images together, errors grow as √m."""
    weight = 1.0 / np.sqrt(n[:, 0])

    def residuals(ab: FloatArray) -> FloatArray:
        return (n @ ab - seconds) * weight

    at_start = residuals(start)
    spread = _TO_SIGMA * np.median(np.abs(at_start - np.median(at_start)))
    found = least_squares(
        residuals, start, bounds=(0.0, np.inf), loss="cauchy", f_scale=max(spread, 1.0)
    )
    return float(found.x[0]), float(found.x[1])
