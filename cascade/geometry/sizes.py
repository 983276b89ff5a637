"""Real-world sizes and distances of boxes, and their plausibility.

Pinhole camera: an object of height h at distance d is h · focal / d pixels high. A box with a
size that is implausible for its class is flagged, never deleted: it may be a poster of a cone, a
toy, a wrong class or a wrong depth. K is the number of boxes.

A size has three sources of error: the depth, the focal length and the edges of the box. They
multiply, so they are standard deviations of the natural logarithm (0.2 is about 20 %) and add up
as squares. A size is flagged if it is outside the range of its class by more than the error of an
object at the end of the range in 95 of 100 cases. An object r times too large is flagged with
the same reliability while the error is below log(r) / (2 · 1.645): 0.30 for a cone of 3 m, whose
class ends at 1.1 m.

If the distances were computed with the same focal length, it cancels. Depth Anything 3 returns
raw values with meters = focal · raw / 300 [0], so height = pixels · raw / 300 for any focal
length: pass the focal length used for the distances, and a `focal_tolerance` of 0.

A partly hidden object appears too small; occlusion is not modeled.

- [0] Lin et al., Depth Anything 3: Recovering the Visual Space from Any Views, 2025
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade.arrays import FloatArray
from cascade.errors import BadPredictionsError
from cascade.predictions import DepthMap
from cascade.taxonomy import Range, Taxonomy

EDGE = 0.005  # of the image; a box this close to the border may be truncated
DEPTH_TOLERANCE = 0.2  # error of metric depth networks on streets outside their training data
BOX_TOLERANCE_PX = 1.5  # of a side: about one pixel at either end
_SURE = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sizes of boxes, estimated from depth.

    Attributes:
        distance_m: Distances in meters, shape (K,), NaN if unknown.
        height_m: Heights in meters, shape (K,), NaN if unknown.
        width_m: Widths in meters, shape (K,), NaN if unknown.
        tolerance: Standard deviation of the logarithm of `height_m`, shape (K,).
        plausible: False only if a known size is outside the range of its class by more than
            the tolerances explain, shape (K,). A box at the border may be truncated, so it
            can be too large but not too small.
    """

    distance_m: FloatArray
    height_m: FloatArray
    width_m: FloatArray
    tolerance: FloatArray
    plausible: NDArray[np.bool_]


def distances_m(depth: DepthMap, boxes_xyxy: FloatArray) -> FloatArray:
    """Return the median depth of the inner half of each box, in meters, shape (K,).

    The corners of a box are excluded, because they show the background. NaN without known depth
    in the inner half, or if the map is not metric.
    """
    distances = np.full(len(boxes_xyxy), np.nan)
    if depth.unit != "metres":
        return distances
    size = np.array(depth.depth.shape)[[1, 0, 1, 0]]
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    inner = np.hstack([low + (high - low) / 4, high - (high - low) / 4]) * size
    first = np.minimum(np.floor(inner[:, :2]).astype(int), size[:2] - 1)
    last = np.maximum(np.ceil(inner[:, 2:]).astype(int), first + 1)
    for k, ((x1, y1), (x2, y2)) in enumerate(zip(first, last, strict=True)):
        inside = depth.depth[y1:y2, x1:x2]
        values = inside[~np.isnan(inside)]
        if values.size:
            distances[k] = np.median(values)
    return distances


def object_sizes(
    boxes_xyxy: FloatArray,
    labels: Sequence[str],
    distance_m: FloatArray,
    *,
    size_px: ArrayLike,
    focal_px: ArrayLike,
    taxonomy: Taxonomy,
    focal_tolerance: ArrayLike,
    depth_tolerance: ArrayLike = DEPTH_TOLERANCE,
    box_tolerance_px: float = BOX_TOLERANCE_PX,
) -> Sizes:
    """Return the real size of each box, and its plausibility for the class.

    For boxes of several images, pass image properties per box.

    Args:
        boxes_xyxy: Relative corners, shape (K, 4).
        labels: Class name of each box, K of them.
        distance_m: Distance of each box in meters, shape (K,), NaN if unknown.
        size_px: Height and width of the image, in pixels: shape (2,) or (K, 2).
        focal_px: Focal length in pixels of the image: a number or shape (K,).
        taxonomy: Taxonomy with the ranges; a class without a range is always plausible.
        focal_tolerance: Standard deviation of the logarithm of the focal length, a number or
            shape (K,), see `Focal`; 0 for a calibrated camera, or if the focal length cancels.
        depth_tolerance: Standard deviation of the logarithm of the distances, in the same form.
        box_tolerance_px: Standard deviation of a box's height and width.

    Raises:
        BadPredictionsError: A focal length is not positive, a tolerance is negative, or lengths
            differ.
    """
    if not len(boxes_xyxy) == len(labels) == len(distance_m):
        raise BadPredictionsError(
            "boxes_xyxy, labels and distance_m must have the same length, "
            f"got {len(boxes_xyxy)}, {len(labels)} and {len(distance_m)}."
        )
    k = len(labels)
    focal = _per_box("focal_px", focal_px, k, zero=False)
    image_px = np.broadcast_to(np.asarray(size_px, np.float64), (k, 2))
    sides_px = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * image_px[:, ::-1]
    sides_m = sides_px * (np.asarray(distance_m, np.float64) / focal)[:, None]
    scale_error = np.hypot(
        _per_box("focal_tolerance", focal_tolerance, k),
        _per_box("depth_tolerance", depth_tolerance, k),
    )
    box_error = _per_box("box_tolerance_px", box_tolerance_px, k)[:, None]
    tolerance = np.hypot(scale_error[:, None], box_error / np.maximum(sides_px, 1e-9))
    by_name = {cls.name: cls for cls in taxonomy.classes}
    classes = [by_name.get(name) for name in labels]
    widths = [cls.width_m if cls else None for cls in classes]
    heights = [cls.height_m if cls else None for cls in classes]
    cut_x, cut_y = touches_border(boxes_xyxy).T
    plausible: NDArray[np.bool_] = _in_range(sides_m[:, 0], widths, tolerance[:, 0], cut_x)
    plausible &= _in_range(sides_m[:, 1], heights, tolerance[:, 1], cut_y)
    return Sizes(
        distance_m=np.asarray(distance_m, np.float64),
        height_m=sides_m[:, 1],
        width_m=sides_m[:, 0],
        tolerance=tolerance[:, 1],
        plausible=plausible,
    )


def touches_border(boxes_xyxy: FloatArray) -> NDArray[np.bool_]:
    """Return whether the border may truncate each box in x and in y, shape (K, 2)."""
    return (boxes_xyxy[:, :2] <= EDGE) | (boxes_xyxy[:, 2:] >= 1 - EDGE)


def _per_box(name: str, value: ArrayLike, k: int, *, zero: bool = True) -> FloatArray:
    """Return a non-negative (or, without `zero`, positive) value for each box.

    Raises:
        BadPredictionsError: The value has another shape or sign.
    """
    values = np.asarray(value, np.float64)
    if values.shape not in ((), (k,)):
        raise BadPredictionsError(
            f"{name} must be a number or have shape ({k},), got shape {values.shape}."
        )
    wrong = values[~((values >= 0) if zero else (values > 0))]  # includes NaN
    if wrong.size:
        bound = "0 or above" if zero else "above 0"
        raise BadPredictionsError(f"{name} must be {bound}, got {wrong.flat[0]}.")
    return np.broadcast_to(values, k)


def _in_range(
    size_m: FloatArray,
    ranges: Sequence[Range | None],
    tolerance: FloatArray,
    cut: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    bounds = np.array([r or (0.0, np.inf) for r in ranges], np.float64).reshape(-1, 2)
    with np.errstate(over="ignore"):  # an empty box has no limit
        slack = np.exp(_SURE * tolerance)
    too_small = (size_m < bounds[:, 0] / slack) & ~cut  # NaN is neither too small nor too large
    return ~(too_small | (size_m > bounds[:, 1] * slack))
