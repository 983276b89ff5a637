"""Bounding boxes of instance masks, and the support of boxes by masks.

A pixel is a rectangle of 1/W x 1/H of the image, so a box may contain parts of pixels. N is the
number of masks, M of boxes, H and W a map's height and width. At most one mask is converted to
numbers at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.errors import BadPredictionsError
from cascade.geometry import boxes
from cascade.predictions import Masks
from cascade.taxonomy import fold


def bounding_boxes(masks: Masks) -> NDArray[np.float32]:
    """Return the bounding box of each mask, relative corners `x1, y1, x2, y2`, shape (N, 4).

    A box extends to the outer edges of the mask's pixels; it is all zeros for an empty mask.
    """
    height, width = masks.masks.shape[1:]
    extents = _extents(masks.masks)
    return (extents / [width, height, width, height]).astype(np.float32)


def support(
    masks: Masks,
    boxes_xyxy: FloatArray,
    labels: Sequence[str] | None = None,
    *,
    meaning: Callable[[str], str | None] = fold,
) -> NDArray[np.float32]:
    """Return the share of each box covered by masks of its class, shape (M,), in [0, 1].

    The share is 0 without masks of the class, and for an empty box.

    Args:
        masks: The masks.
        boxes_xyxy: Relative corners, shape (M, 4).
        labels: Class name of each box, M of them; None to accept masks of any class.
        meaning: Maps the names of masks and boxes to common names, for example
            `taxonomy.canonical`; None matches nothing.

    Raises:
        BadPredictionsError: The numbers of labels and boxes differ.
    """
    pixels = _in_pixels(boxes_xyxy, masks)
    if labels is None:
        return _ratio(_covered(_union(masks.masks), pixels), boxes.areas(pixels))
    if len(labels) != len(pixels):
        raise BadPredictionsError(
            f"labels must contain {len(pixels)} names, one per box, got {len(labels)}."
        )
    of_classes = [meaning(name) for name in masks.classes]
    of_masks = np.array([of_classes[i] for i in masks.class_ids], object)
    of_boxes = np.array([meaning(name) for name in labels], object)
    covered = np.zeros(len(pixels))
    for name in {name for name in of_boxes if name is not None}:
        rows = of_boxes == name
        covered[rows] = _covered(_union(masks.masks[of_masks == name]), pixels[rows])
    return _ratio(covered, boxes.areas(pixels))


def _in_pixels(boxes_xyxy: FloatArray, masks: Masks) -> NDArray[np.float64]:
    height, width = masks.masks.shape[1:]
    return np.asarray(boxes_xyxy, np.float64).reshape(-1, 4) * [width, height, width, height]


def _ratio(part: FloatArray, total: FloatArray) -> NDArray[np.float32]:
    shares = np.divide(part, total, out=np.zeros(total.shape), where=total > 0)
    return shares.clip(0.0, 1.0).astype(np.float32)


def _union(regions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.logical_or.reduce(regions, axis=0)


def _extents(regions: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the extent of each region in pixels, `x1, y1, x2, y2`, shape (N, 4)."""
    x1, x2 = _first_and_last(np.logical_or.reduce(regions, axis=1))
    y1, y2 = _first_and_last(np.logical_or.reduce(regions, axis=2))
    return np.stack([x1, y1, x2, y2], axis=1)


def _first_and_last(hits: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first hit of each row and the index after its last; both 0 without hits."""
    first = hits.argmax(axis=1)
    after = hits.shape[1] - hits[:, ::-1].argmax(axis=1)
    return first, np.where(hits.any(axis=1), after, 0)


def _covered(region: NDArray[np.bool_], boxes_px: FloatArray) -> NDArray[np.float64]:
    """Return the number of pixels of a region in each box, shape (M,), with parts of pixels.

    The integral image of a region is bilinear inside a pixel, so interpolating it is exact.
    """
    x1, y1, x2, y2 = _extents(region[None])[0]
    if x1 == x2:
        return np.zeros(len(boxes_px))
    table = np.zeros((y2 - y1 + 1, x2 - x1 + 1))
    table[1:, 1:] = region[y1:y2, x1:x2].cumsum(axis=0).cumsum(axis=1)
    left, top, right, bottom = (boxes_px - [x1, y1, x1, y1]).T
    return (
        _interpolate(table, right, bottom)
        - _interpolate(table, left, bottom)
        - _interpolate(table, right, top)
        + _interpolate(table, left, top)
    )


def _interpolate(table: FloatArray, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
    """Return bilinear interpolations of the table; outside, its value at the edge."""
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    x, y = x.clip(0, columns), y.clip(0, rows)
    i, j = np.minimum(y.astype(int), rows - 1), np.minimum(x.astype(int), columns - 1)
    v, u = y - i, x - j
    above = table[i, j] * (1 - u) + table[i, j + 1] * u
    below = table[i + 1, j] * (1 - u) + table[i + 1, j + 1] * u
    return above * (1 - v) + below * v
