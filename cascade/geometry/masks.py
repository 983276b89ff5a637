"""What consensus and storage need of instance masks: extents, areas, and how they meet boxes.

A pixel is a square of 1/W x 1/H of the image, so a mask has an area and a box cuts pixels
where it likes. N is the number of masks, M of boxes, H and W a map's height and width.
Nothing here holds more than one mask's pixels as numbers at a time.
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
    """Return the extent of each mask, relative corners `x1, y1, x2, y2`, shape (N, 4).

    From the outer edge of its first pixel to that of its last; zeros where it has none.
    """
    height, width = masks.masks.shape[1:]
    extents = _extents(masks.masks)
    return (extents / [width, height, width, height]).astype(np.float32)


def areas(masks: Masks) -> NDArray[np.float32]:
    """Return the share of the image that each mask covers, shape (N,), in [0, 1]."""
    height, width = masks.masks.shape[1:]
    return (np.count_nonzero(masks.masks, axis=(1, 2)) / (height * width)).astype(np.float32)


def iou_with_boxes(masks: Masks, boxes_xyxy: FloatArray) -> NDArray[np.float32]:
    """Return the intersection over union of every mask with every box, shape (N, M), in [0, 1].

    Of the regions: a cone fills half of its box, and no more is reached. Whether a box lies
    where a mask does tells `boxes.iou(boxes_of(masks), boxes_xyxy)`.

    Args:
        masks: The masks.
        boxes_xyxy: Relative corners, shape (M, 4).
    """
    pixels = _in_pixels(boxes_xyxy, masks)
    if not len(masks):
        return np.zeros((0, len(pixels)), np.float32)
    both = np.stack([_covered(one, pixels) for one in masks.masks])
    of_masks = np.count_nonzero(masks.masks, axis=(1, 2))
    union = of_masks[:, None] + boxes.areas(pixels) - both
    return _ratio(both, union)


def support(
    masks: Masks,
    boxes_xyxy: FloatArray,
    labels: Sequence[str] | None = None,
    *,
    meaning: Callable[[str], str | None] = fold,
) -> NDArray[np.float32]:
    """Return the share of each box that masks of its class cover together, shape (M,), in [0, 1].

    0 where no mask is of the class, and for a box without extent.

    Args:
        masks: The masks.
        boxes_xyxy: Relative corners, shape (M, 4).
        labels: What each box holds, M names; None where any mask will do.
        meaning: Brings the names of masks and boxes to one word, for example
            `taxonomy.canonical`; what means None is compatible with nothing.

    Raises:
        BadPredictionsError: There are not as many labels as boxes.
    """
    pixels = _in_pixels(boxes_xyxy, masks)
    if labels is None:
        return _ratio(_covered(_union(masks.masks), pixels), boxes.areas(pixels))
    if len(labels) != len(pixels):
        raise BadPredictionsError(
            f"labels must name each of the {len(pixels)} boxes, got {len(labels)}."
        )
    of_classes = [meaning(name) for name in masks.classes]
    of_masks = np.array([of_classes[i] for i in masks.class_ids], object)
    of_boxes = np.array([meaning(name) for name in labels], object)
    covered = np.zeros(len(pixels))
    for word in {one for one in of_boxes if one is not None}:
        wanted = of_boxes == word
        covered[wanted] = _covered(_union(masks.masks[of_masks == word]), pixels[wanted])
    return _ratio(covered, boxes.areas(pixels))


def _in_pixels(boxes_xyxy: FloatArray, masks: Masks) -> NDArray[np.float64]:
    height, width = masks.masks.shape[1:]
    return np.asarray(boxes_xyxy, np.float64).reshape(-1, 4) * [width, height, width, height]


def _ratio(part: FloatArray, whole: FloatArray) -> NDArray[np.float32]:
    shares = np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)
    return shares.clip(0.0, 1.0).astype(np.float32)


def _union(regions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.logical_or.reduce(regions, axis=0)


def _extents(regions: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the extent of each region in pixels, `x1, y1, x2, y2`, shape (N, 4)."""
    x1, x2 = _first_and_last(np.logical_or.reduce(regions, axis=1))
    y1, y2 = _first_and_last(np.logical_or.reduce(regions, axis=2))
    return np.stack([x1, y1, x2, y2], axis=1)


def _first_and_last(hits: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first hit of each row and the place after its last; both 0 without any."""
    first = hits.argmax(axis=1)
    after = hits.shape[1] - hits[:, ::-1].argmax(axis=1)
    return first, np.where(hits.any(axis=1), after, 0)


def _covered(region: NDArray[np.bool_], boxes_px: FloatArray) -> NDArray[np.float64]:
    """Return how many pixels of a region lie in each box, parts of pixels included, shape (M,).

    The integral of a region is bilinear inside a pixel, so its table, read between the grid's
    points, is exact.
    """
    x1, y1, x2, y2 = _extents(region[None])[0]
    if x1 == x2:
        return np.zeros(len(boxes_px))
    table = np.zeros((y2 - y1 + 1, x2 - x1 + 1))
    table[1:, 1:] = region[y1:y2, x1:x2].cumsum(axis=0).cumsum(axis=1)
    left, top, right, bottom = (boxes_px - [x1, y1, x1, y1]).T
    return (
        _read(table, right, bottom)
        - _read(table, left, bottom)
        - _read(table, right, top)
        + _read(table, left, top)
    )


def _read(table: FloatArray, x: FloatArray, y: FloatArray) -> NDArray[np.float64]:
    """Return the table between its points; outside, its value at the edge."""
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    x, y = x.clip(0, columns), y.clip(0, rows)
    i, j = np.minimum(y.astype(int), rows - 1), np.minimum(x.astype(int), columns - 1)
    v, u = y - i, x - j
    above = table[i, j] * (1 - u) + table[i, j + 1] * u
    below = table[i + 1, j] * (1 - u) + table[i + 1, j + 1] * u
    return above * (1 - v) + below * v
