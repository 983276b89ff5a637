"""Drift of new images from reference images: a distance test on embeddings.

An image is far if its nearest reference image is farther than 99 % of the reference images are
from their nearest image of another drive. Frames of the same drive are excluded, because they
resemble each other and would make every new drive look unusual. A night has drifted if more
than half of it is far. The threshold is a convention that bounds no error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from curation.errors import SelectionError

LEAST_REFERENCE, LEAST_NIGHT = 20, 5  # minimum sizes for a meaningful share
FAR_QUANTILE = 0.99
MOST_FAR = 0.5
_CHUNK = 2048


@dataclass(frozen=True)
class Drift:
    """Distance of a night's images from the reference.

    Attributes:
        night: Number of images of the night.
        reference: Number of reference images compared.
        median: Median cosine distance of the night's images to their nearest reference image.
        usual: 99th percentile of the distances among reference images.
        far: Share of the night's images beyond that distance.
        drifted: Whether that share is above the limit.
    """

    night: int
    reference: int
    median: float
    usual: float
    far: float
    drifted: bool

    @property
    def sentence(self) -> str:
        """The result as a sentence."""
        return (
            f"{self.far:.0%} of {self.night} new images are farther from the {self.reference} "
            f"earlier ones (median cosine distance {self.median:.3f}) than those are from each "
            f"other ({self.usual:.3f} for 99 %)."
        )


def measure(
    night: FloatArray,
    reference: FloatArray,
    drives: Sequence[str | None],
    *,
    most_far: float = MOST_FAR,
) -> Drift | None:
    """Compare a night with the reference; None if either is too small.

    Args:
        night: Embeddings of the night, unit length, shape (N, D).
        reference: Embeddings of the reference, unit length, shape (R, D).
        drives: Drive of each reference image; None for a drive with one image.
        most_far: Maximum share of far images without drift.

    Raises:
        SelectionError: The shapes of the arrays do not match.
    """
    if len(reference) != len(drives):
        raise SelectionError(f"drives must have length {len(reference)}, got {len(drives)}.")
    if len(night) < LEAST_NIGHT or len(reference) < LEAST_REFERENCE:
        return None
    if night.shape[1] != reference.shape[1]:
        raise SelectionError(
            f"night must have shape (N, {reference.shape[1]}) like the reference, "
            f"got {night.shape}. Embed both with the same member."
        )
    among_reference = nearest(reference, reference, _drive_ids(drives))
    among_reference = among_reference[np.isfinite(among_reference)]
    if len(among_reference) < LEAST_REFERENCE:  # most are of a single drive
        return None
    usual = float(np.quantile(among_reference, FAR_QUANTILE))
    distance = nearest(night, reference)
    far = float((distance > usual).mean())
    return Drift(
        night=len(night),
        reference=len(reference),
        median=float(np.median(distance)),
        usual=usual,
        far=far,
        drifted=far > most_far,
    )


def nearest(
    rows: FloatArray, reference: FloatArray, drives: NDArray[np.int64] | None = None
) -> FloatArray:
    """Return the minimum cosine distance of each row to the reference, shape (N,).

    Args:
        rows: Embeddings of unit length, shape (N, D).
        reference: Embeddings of unit length, shape (R, D).
        drives: Drive ids, shape (R,), if `rows` is the reference itself. Only images of other
            drives then count; inf if there is none.
    """
    distances = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        distance = 1.0 - rows[part] @ reference.T
        if drives is not None:
            distance = np.where(drives[part, None] == drives[None, :], np.inf, distance)
        distances[part] = distance.min(axis=1)
    return distances


def _drive_ids(drives: Sequence[str | None]) -> NDArray[np.int64]:
    """Return one number for each drive; every None is a different drive."""
    ids: dict[str, int] = {}
    return np.array(
        [
            -1 - i if drive is None else ids.setdefault(drive, len(ids))
            for i, drive in enumerate(drives)
        ],
        np.int64,
    )
