"""Bounding boxes of instance masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade.predictions import Masks


def bounding_boxes(masks: Masks) -> NDArray[np.float32]:
    """Return the bounding box of each mask, relative corners `x1, y1, x2, y2`, shape (N, 4).

    A box extends to the outer edges of the mask's pixels; it is all zeros for an empty mask.
    """
    height, width = masks.masks.shape[1:]
    x1, x2 = _first_and_last(np.logical_or.reduce(masks.masks, axis=1))
    y1, y2 = _first_and_last(np.logical_or.reduce(masks.masks, axis=2))
    extents = np.stack([x1, y1, x2, y2], axis=1)
    return (extents / [width, height, width, height]).astype(np.float32)


def _first_and_last(hits: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first hit of each row and the index after its last; both 0 without hits."""
    first = hits.argmax(axis=1)
    after = hits.shape[1] - hits[:, ::-1].argmax(axis=1)
    return first, np.where(hits.any(axis=1), after, 0)
