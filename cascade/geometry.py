"""How large and how far away a box's object is, and whether that can be.

The pinhole camera: an object of height h at distance d is h · focal / d pixels high. A box
whose real size its class cannot have is flagged, never deleted: a poster of a cone, a toy, a
wrong class, a wrong depth. K is the number of boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.errors import BadPredictionsError
from cascade.predictions import DepthMap, FloatArray
from cascade.taxonomy import Range, Taxonomy

EDGE = 0.005  # share of the image: a box that comes so near to the border may be cut off there


@dataclass(frozen=True, eq=False)
class Sizes:
    """What depth says about boxes.

    Attributes:
        distance_m: Shape (K,), in metres, NaN where no depth is known.
        height_m: Shape (K,), in metres, NaN likewise.
        width_m: Shape (K,), in metres, NaN likewise.
        plausible: Shape (K,); false only where a known size leaves the range of its class. A
            box at the border may be cut off, so it can be too large but not too small.
    """

    distance_m: FloatArray
    height_m: FloatArray
    width_m: FloatArray
    plausible: NDArray[np.bool_]


def distances_m(depth: DepthMap, boxes_xyxy: FloatArray) -> FloatArray:
    """Return the median depth of the inner half of each box, shape (K,).

    The inner half, because a box's corners show what is behind the object. NaN where nothing
    is known there, or where the map knows no metres.
    """
    found = np.full(len(boxes_xyxy), np.nan)
    if depth.unit != "metres":
        return found
    size = np.array(depth.depth.shape)[[1, 0, 1, 0]]
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    inner = np.hstack([low + (high - low) / 4, high - (high - low) / 4]) * size
    first = np.minimum(np.floor(inner[:, :2]).astype(int), size[:2] - 1)
    last = np.maximum(np.ceil(inner[:, 2:]).astype(int), first + 1)
    for k, ((x1, y1), (x2, y2)) in enumerate(zip(first, last, strict=True)):
        inside = depth.depth[y1:y2, x1:x2]
        known = inside[~np.isnan(inside)]
        if known.size:
            found[k] = np.median(known)
    return found


def measure(
    boxes_xyxy: FloatArray,
    labels: Sequence[str],
    distance_m: FloatArray,
    *,
    size_px: tuple[int, int],
    focal_px: float,
    taxonomy: Taxonomy,
) -> Sizes:
    """Return the real size of each box, and whether its class comes in that size.

    Args:
        boxes_xyxy: Relative corners, shape (K, 4).
        labels: The class name of each box, K of them.
        distance_m: Distance of each, shape (K,), NaN where unknown.
        size_px: Height and width of the image, in pixels.
        focal_px: The camera's focal length, in pixels of this image.
        taxonomy: Whose ranges hold; a class without a range is never implausible.

    Raises:
        BadPredictionsError: The focal length is no positive number, or lengths differ.
    """
    if not focal_px > 0:
        raise BadPredictionsError(f"focal_px must be above 0, got {focal_px}.")
    if not len(boxes_xyxy) == len(labels) == len(distance_m):
        raise BadPredictionsError(
            "boxes_xyxy, labels and distance_m must be of the same boxes, "
            f"got {len(boxes_xyxy)}, {len(labels)} and {len(distance_m)}."
        )
    metres_a_pixel = np.asarray(distance_m, np.float64) / focal_px
    width_m, height_m = (
        (boxes_xyxy[:, 2 + axis] - boxes_xyxy[:, axis]) * size_px[1 - axis] * metres_a_pixel
        for axis in (0, 1)
    )
    ranges = {one.name: one for one in taxonomy.classes}
    known = [ranges.get(name) for name in labels]
    cut_x, cut_y = _cut(boxes_xyxy).T
    fits = [
        _fits(height_m, [one.height_m if one else None for one in known], cut_y),
        _fits(width_m, [one.width_m if one else None for one in known], cut_x),
    ]
    return Sizes(
        distance_m=np.asarray(distance_m, np.float64),
        height_m=height_m,
        width_m=width_m,
        plausible=fits[0] & fits[1],
    )


def _cut(boxes_xyxy: FloatArray) -> NDArray[np.bool_]:
    """Return whether each box may be cut off in x and in y, shape (K, 2)."""
    return (boxes_xyxy[:, :2] <= EDGE) | (boxes_xyxy[:, 2:] >= 1 - EDGE)


def _fits(
    size_m: FloatArray, ranges: Sequence[Range | None], cut: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    bounds = np.array([one or (0.0, np.inf) for one in ranges], np.float64).reshape(-1, 2)
    too_small = (size_m < bounds[:, 0]) & ~cut  # NaN is neither too small nor too large
    return ~(too_small | (size_m > bounds[:, 1]))
