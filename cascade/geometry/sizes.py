"""How large and how far away a box's object is, and whether that can be.

The pinhole camera: an object of height h at distance d is h · focal / d pixels high. A box
whose real size its class cannot have is flagged, never deleted: a poster of a cone, a toy, a
wrong class, a wrong depth. K is the number of boxes.

Three errors stand between a box and its metres: of the depth, of the focal length, and of the
box's own edges. They multiply, so they are told as standard deviations of the natural logarithm
(0.2 is about 20 %) and add up as squares. A size is flagged only where it leaves its class's
range by more than an object at the very end of the range would in 95 of 100 cases. An object r
times too large is flagged as reliably while the errors stay below log(r) / (2 · 1.645): 0.30
for a cone of 3 m, whose class ends at 1.1 m.

Where the metres came from the same focal length, it cancels: Depth Anything 3 gives raw values
with metres = focal · raw / 300 [0], so height = pixels · raw / 300 whatever the focal length.
Hand in the focal length that made the metres, and a `focal_tolerance` of 0.

An object that is partly hidden looks too small; nothing here knows what hides it.

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

EDGE = 0.005  # share of the image: a box that comes so near to the border may be cut off there
DEPTH_TOLERANCE = 0.2  # what metric depth networks err by on streets that they were not trained on
BOX_TOLERANCE_PX = 1.5  # of a side: about one pixel at either end
_SURE = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, eq=False)
class Sizes:
    """What depth says about boxes.

    Attributes:
        distance_m: Shape (K,), in metres, NaN where no depth is known.
        height_m: Shape (K,), in metres, NaN likewise.
        width_m: Shape (K,), in metres, NaN likewise.
        tolerance: Shape (K,); standard deviation of the logarithm of `height_m`.
        plausible: Shape (K,); false only where a known size leaves the range of its class by
            more than the tolerances explain. A box at the border may be cut off, so it can be
            too large but not too small.
    """

    distance_m: FloatArray
    height_m: FloatArray
    width_m: FloatArray
    tolerance: FloatArray
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
    """Return the real size of each box, and whether its class comes in that size.

    The boxes may be of many images: what belongs to an image is given per box then.

    Args:
        boxes_xyxy: Relative corners, shape (K, 4).
        labels: The class name of each box, K of them.
        distance_m: Distance of each, shape (K,), NaN where unknown.
        size_px: Height and width of the image, in pixels: shape (2,) or (K, 2).
        focal_px: The camera's focal length in pixels of this image: a number or shape (K,).
        taxonomy: Whose ranges hold; a class without a range is never implausible.
        focal_tolerance: Standard deviation of its logarithm, a number or shape (K,): see
            `focal.Focal`; 0 for a calibrated camera, or where the focal length cancels.
        depth_tolerance: Standard deviation of the logarithm of the distances, likewise.
        box_tolerance_px: Standard deviation of a box's height, and of its width.

    Raises:
        BadPredictionsError: A focal length is no positive number, a tolerance is negative, or
            lengths differ.
    """
    if not len(boxes_xyxy) == len(labels) == len(distance_m):
        raise BadPredictionsError(
            "boxes_xyxy, labels and distance_m must be of the same boxes, "
            f"got {len(boxes_xyxy)}, {len(labels)} and {len(distance_m)}."
        )
    k = len(labels)
    focal = _per_box("focal_px", focal_px, k, zero=False)
    image_px = np.broadcast_to(np.asarray(size_px, np.float64), (k, 2))
    sides_px = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * image_px[:, ::-1]
    sides_m = sides_px * (np.asarray(distance_m, np.float64) / focal)[:, None]
    of_scale = np.hypot(
        _per_box("focal_tolerance", focal_tolerance, k),
        _per_box("depth_tolerance", depth_tolerance, k),
    )
    of_box = _per_box("box_tolerance_px", box_tolerance_px, k)[:, None]
    tolerance = np.hypot(of_scale[:, None], of_box / np.maximum(sides_px, 1e-9))
    ranges = [{one.name: one for one in taxonomy.classes}.get(name) for name in labels]
    widths = [one.width_m if one else None for one in ranges]
    heights = [one.height_m if one else None for one in ranges]
    cut_x, cut_y = touches_border(boxes_xyxy).T
    plausible: NDArray[np.bool_] = _fits(sides_m[:, 0], widths, tolerance[:, 0], cut_x)
    plausible &= _fits(sides_m[:, 1], heights, tolerance[:, 1], cut_y)
    return Sizes(
        distance_m=np.asarray(distance_m, np.float64),
        height_m=sides_m[:, 1],
        width_m=sides_m[:, 0],
        tolerance=tolerance[:, 1],
        plausible=plausible,
    )


def touches_border(boxes_xyxy: FloatArray) -> NDArray[np.bool_]:
    """Return whether each box may be cut off by the border in x and in y, shape (K, 2)."""
    return (boxes_xyxy[:, :2] <= EDGE) | (boxes_xyxy[:, 2:] >= 1 - EDGE)


def _per_box(name: str, value: ArrayLike, k: int, *, zero: bool = True) -> FloatArray:
    """Return `value` for each box, or refuse what is negative, or zero where that is not asked."""
    given = np.asarray(value, np.float64)
    if given.shape not in ((), (k,)):
        raise BadPredictionsError(
            f"{name} must be a number or have shape ({k},), got shape {given.shape}."
        )
    wrong = given[~((given >= 0) if zero else (given > 0))]  # NaN, too
    if wrong.size:
        bound = "0 or above" if zero else "above 0"
        raise BadPredictionsError(f"{name} must be {bound}, got {wrong.flat[0]}.")
    return np.broadcast_to(given, k)


def _fits(
    size_m: FloatArray,
    ranges: Sequence[Range | None],
    tolerance: FloatArray,
    cut: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    bounds = np.array([one or (0.0, np.inf) for one in ranges], np.float64).reshape(-1, 2)
    with np.errstate(over="ignore"):  # a box without extent: no limit at all
        slack = np.exp(_SURE * tolerance)
    too_small = (size_m < bounds[:, 0] / slack) & ~cut  # NaN is neither too small nor too large
    return ~(too_small | (size_m > bounds[:, 1] * slack))
