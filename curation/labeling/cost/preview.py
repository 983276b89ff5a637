"""Cost of labeling a batch, and whether it is worthwhile, before tasks are submitted.

Labeling time is modeled as a·images + b·boxes. With measurements of annotators, a and b are
fitted robustly, which excludes breaks and idle windows [0]; otherwise they are assumed.

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

_MIN_MEASUREMENTS = 8  # to separate the time per box from the time per image
_MAD_TO_SIGMA = 1.4826  # standard deviation of a normal distribution per median absolute deviation


@dataclass(frozen=True)
class Measurement:
    """Measured labeling time of one image or of a whole round."""

    images: int
    boxes: int
    seconds: float


@dataclass(frozen=True)
class Rates:
    """Labeling times and their source.

    Attributes:
        seconds_per_image: Time to open, check and submit an image.
        seconds_per_box: Time to draw or correct a box.
        source: Explanation in a sentence.
    """

    seconds_per_image: float
    seconds_per_box: float
    source: str


@dataclass(frozen=True)
class Preview:
    """Expected cost and benefit of a batch.

    Attributes:
        images: Number of samples to label.
        chosen: Whether the samples were already chosen; otherwise they are representative.
        cost: Boxes and hours.
        rates: Rates behind the hours.
        stop: Whether the last rounds were not worth their labels.
        advice: Explanation of `stop` in a sentence.
    """

    images: int
    chosen: bool
    cost: Cost
    rates: Rates
    stop: bool
    advice: str


def preview(
    expected_boxes: FloatArray,
    measurements: Sequence[Measurement],
    gains: Sequence[Gain | None],
    *,
    chosen: bool,
) -> Preview:
    """Return the expected cost, and whether the last rounds justify it.

    Args:
        expected_boxes: Expected number of boxes of each sample of the batch, shape (B,).
        measurements: Measured times of earlier labeling.
        gains: Gain of each finished round, oldest first.
        chosen: Whether these samples were already chosen.
    """
    fitted = fit_rates(measurements)
    cost = stopping_rule.labeling_cost(
        expected_boxes,
        seconds_per_box=fitted.seconds_per_box,
        seconds_per_image=fitted.seconds_per_image,
    )
    stop, advice = stopping_rule.should_stop(gains)
    return Preview(len(expected_boxes), chosen, cost, fitted, stop, advice)


def fit_rates(measurements: Sequence[Measurement]) -> Rates:
    """Return seconds per image and per box, fitted if there are measurements."""
    usable = [row for row in measurements if row.images > 0 and row.seconds > 0]
    if not usable:
        return Rates(
            SECONDS_PER_IMAGE,
            SECONDS_PER_BOX,
            "No labeling time was measured yet: the rates are assumptions from the literature.",
        )
    counts = np.array([[row.images, row.boxes] for row in usable], np.float64)
    seconds = np.array([row.seconds for row in usable])
    n_images = int(counts[:, 0].sum())
    start = np.array([SECONDS_PER_IMAGE, SECONDS_PER_BOX])
    start *= np.median(seconds / (counts @ start))
    if len(usable) < _MIN_MEASUREMENTS or np.ptp(counts[:, 1] / counts[:, 0]) == 0:
        source = (
            f"Measured on {n_images} images, too few or too similar to separate boxes from images: "
            "the assumed rates, scaled to the measured time."
        )
        return Rates(round(float(start[0]), 1), round(float(start[1]), 1), source)
    per_image, per_box = _fit(counts, seconds, start)
    source = f"Measured on {n_images} images, without breaks."
    return Rates(round(per_image, 1), round(per_box, 1), source)


def round_measurements(records: Iterable[Mapping[str, Any]]) -> list[Measurement]:
    """Return the times in the records of rounds; partially measured rounds are skipped."""
    measurements = []
    for record in records:
        summary = record.get("stages", {}).get("label", {}).get("summary", {})
        seconds, labeled = summary.get("seconds"), summary.get("labeled")
        if seconds and labeled and summary.get("new") == labeled:
            measurements.append(Measurement(int(labeled), int(summary["boxes"]), float(seconds)))
    return measurements


def sample_measurements(rows: Iterable[Mapping[str, Any]]) -> list[Measurement]:
    """Return the time of every measured submission.

    Args:
        rows: Stored rows of samples; their `versions` have `seconds` and `labels`.
    """
    return [
        Measurement(1, len(version["labels"]), float(version["seconds"]))
        for row in rows
        for version in row.get("versions", ())
        if version.get("seconds")
    ]


def gains(verdicts: Iterable[Mapping[str, Any] | None]) -> list[Gain | None]:
    """Return the gain of each finished round from its verdict; None if there is none."""
    keys = ("delta_mcc", "lower", "upper")
    return [
        Gain(*(float(verdict[key]) for key in keys))
        if verdict and None not in [verdict.get(key) for key in keys]
        else None
        for verdict in verdicts
    ]


def _fit(counts: FloatArray, seconds: FloatArray, start: FloatArray) -> tuple[float, float]:
    """Return a and b of the Cauchy regression; the error of m images grows as √m."""
    weight = 1.0 / np.sqrt(counts[:, 0])

    def residuals(rates: FloatArray) -> FloatArray:
        return (counts @ rates - seconds) * weight

    at_start = residuals(start)
    spread = _MAD_TO_SIGMA * np.median(np.abs(at_start - np.median(at_start)))
    fit = least_squares(
        residuals, start, bounds=(0.0, np.inf), loss="cauchy", f_scale=max(spread, 1.0)
    )
    return float(fit.x[0]), float(fit.x[1])
