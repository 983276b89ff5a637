"""Are the night's images anything like the reference? A plain distance test on embeddings.

An image is far when its nearest reference image is farther than 99 % of the reference images are
from the nearest one of another drive: frames of one drive resemble each other and would make
every new drive look strange. The night is nothing like the reference when more than half of it
is far. The threshold is a convention, and bounds no error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from curation.errors import SelectionError

LEAST_REFERENCE, LEAST_NIGHT = 20, 5  # below, a share says nothing
FAR_QUANTILE = 0.99
MOST_FAR = 0.5
_CHUNK = 2048


@dataclass(frozen=True)
class Drift:
    """How far a night is from the reference.

    Attributes:
        night: Images of the night.
        reference: Images of the reference that were compared.
        median: Cosine distance of the night's images to their nearest reference image.
        usual: The distance that 99 % of the reference keep to among themselves.
        far: Share of the night that is farther than that.
        drifted: Whether the night is nothing like the reference.
    """

    night: int
    reference: int
    median: float
    usual: float
    far: float
    drifted: bool

    @property
    def sentence(self) -> str:
        """The result in words."""
        return (
            f"{self.far:.0%} of {self.night} new images are farther from the {self.reference} "
            f"known ones (median cosine distance {self.median:.3f}) than those are from each "
            f"other ({self.usual:.3f} for 99 %)."
        )


def measure(
    night: FloatArray,
    reference: FloatArray,
    drives: Sequence[str | None],
    *,
    most_far: float = MOST_FAR,
) -> Drift | None:
    """Return how far a night is from the reference; None where one of them is too small.

    Args:
        night: Embeddings scaled to length 1, shape (N, D).
        reference: The same of the reference, shape (R, D); a few thousand are enough.
        drives: The drive of each reference image; None is a drive of its own.
        most_far: The share of far images that a night may have.

    Raises:
        SelectionError: The arrays do not fit together.
    """
    if len(reference) != len(drives):
        raise SelectionError(f"drives must have length {len(reference)}, got {len(drives)}.")
    if len(night) < LEAST_NIGHT or len(reference) < LEAST_REFERENCE:
        return None
    if night.shape[1] != reference.shape[1]:
        raise SelectionError(
            f"night must have shape (N, {reference.shape[1]}) like the reference, "
            f"got {night.shape}. Embed both with one member."
        )
    own = nearest(reference, reference, _numbers(drives))
    own = own[np.isfinite(own)]
    if len(own) < LEAST_REFERENCE:  # all of one drive: nothing to compare with
        return None
    usual = float(np.quantile(own, FAR_QUANTILE))
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
    """Return the least cosine distance of each row to the reference, shape (N,).

    Args:
        rows: Embeddings scaled to length 1, shape (N, D).
        reference: The same, shape (R, D).
        drives: Where the rows are the reference itself: the drive of each, shape (R,). Only
            those of other drives count then; inf where there is none.
    """
    found = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        distance = 1.0 - rows[part] @ reference.T
        if drives is not None:
            distance = np.where(drives[part, None] == drives[None, :], np.inf, distance)
        found[part] = distance.min(axis=1)
    return found


def _numbers(drives: Sequence[str | None]) -> NDArray[np.int64]:
    known: dict[str, int] = {}
    return np.array(
        [
            -1 - i if one is None else known.setdefault(one, len(known))
            for i, one in enumerate(drives)
        ],
        np.int64,
    )
