"""Focal length of a camera, estimated from objects of roughly known real size.

An object of height h at distance d is h · focal / d pixels high, so the boxes of a class with
known heights constrain the focal length. All boxes of a drive, which has one camera, are used
together: the result is a posterior over the logarithm of the focal length, on a grid.

* The median object of a class in the drive may have any height in the class's range. A wide
  range (vehicles) says little, regardless of the number of objects; a narrow one (workers, drums)
  says much. Assuming the middle of the range for every object would be more precise, and a third
  off in a drive past cars, which are low for vehicles.
* A median is robust to a minority of wrong boxes. Its error depends on the number of images
  rather than objects, because the depth of a whole image may be off.
* One class in ten may be misread completely, so no range is trusted fully.
* The prior is a horizontal field of view of 70 degrees, typical of street cameras: KITTI 81,
  Cityscapes 49, nuScenes 65 [0, 1, 2], a phone's main camera 69 (26 mm equivalent).

The result is the focal length times the common scale error of the depth. Sizes need exactly this
product. Distances do not: never correct them with it.

- [0] Geiger et al., Vision meets Robotics: The KITTI Dataset, IJRR 2013
- [1] Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016
- [2] Caesar et al., nuScenes: A Multimodal Dataset for Autonomous Driving, CVPR 2020
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from cascade.arrays import FloatArray
from cascade.errors import BadPredictionsError
from cascade.geometry.sizes import BOX_TOLERANCE_PX, DEPTH_TOLERANCE, touches_border
from cascade.taxonomy import Taxonomy

MIN_HEIGHT_PX = 10.0  # of a box; below, its edges depend more on the detector
MISREAD = 0.1  # share of classes whose median object is outside the range

_GRID = np.arange(np.log(0.2), np.log(5.0), 0.01)  # fields of view of 136 to 11 degrees
_MEDIAN = float(np.sqrt(np.pi / 2))  # standard error of a median relative to a mean


@dataclass(frozen=True)
class Focal:
    """A focal length with its uncertainty.

    Attributes:
        in_sides: Focal length divided by the longer side of the image, independent of scaling.
        tolerance: Standard deviation of its natural logarithm; 0.1 is about 10 %.
        objects: Number of boxes used.
    """

    in_sides: float
    tolerance: float
    objects: int

    def px(self, size_px: tuple[int, int]) -> float:
        """Return the focal length in pixels of an image of `size_px`, height and width."""
        return self.in_sides * max(size_px)


DEFAULT_FOCAL = Focal(in_sides=float(0.5 / np.tan(np.radians(70 / 2))), tolerance=0.35, objects=0)
"""Assumption for an unknown camera."""


def estimate(
    boxes_xyxy: FloatArray,
    labels: Sequence[str],
    distance_m: FloatArray,
    images: Sequence[str],
    *,
    size_px: ArrayLike,
    taxonomy: Taxonomy,
    depth_tolerance: float = DEPTH_TOLERANCE,
    box_tolerance_px: float = BOX_TOLERANCE_PX,
) -> Focal:
    """Return the focal length of one camera from the boxes of its images.

    Only heights are used: a vehicle's width depends on the viewpoint. Boxes that the border may
    truncate, low boxes, boxes without a distance and classes without a range of heights are
    ignored; if no box is left, the result is `DEFAULT_FOCAL`.

    Args:
        boxes_xyxy: Relative corners of the K boxes of all images, shape (K, 4).
        labels: Class name of each box.
        distance_m: Distance of each box, shape (K,), NaN if unknown.
        images: Image of each box.
        size_px: Height and width of the images, in pixels: shape (2,) or (K, 2).
        taxonomy: Taxonomy with the ranges of heights.
        depth_tolerance: Standard deviation of the logarithm of the distances.
        box_tolerance_px: Standard deviation of a box's height.

    Raises:
        BadPredictionsError: Lengths differ.
    """
    if not len(boxes_xyxy) == len(labels) == len(distance_m) == len(images):
        raise BadPredictionsError(
            "boxes_xyxy, labels, distance_m and images must have the same length, got "
            f"{len(boxes_xyxy)}, {len(labels)}, {len(distance_m)} and {len(images)}."
        )
    image_px = np.broadcast_to(np.asarray(size_px, np.float64), (len(labels), 2))
    height_px = (boxes_xyxy[:, 3] - boxes_xyxy[:, 1]) * image_px[:, 0]
    ranges_m = {cls.name: cls.height_m for cls in taxonomy.classes if cls.height_m}
    usable = np.array([name in ranges_m for name in labels], bool) & (height_px >= MIN_HEIGHT_PX)
    usable &= ~touches_border(boxes_xyxy)[:, 1] & np.isfinite(distance_m) & (distance_m > 0)
    if not usable.any():
        return DEFAULT_FOCAL
    log_size = np.log(height_px / image_px.max(axis=1), where=usable, out=np.zeros(len(usable)))
    log_size += np.log(distance_m, where=usable, out=np.zeros(len(usable)))
    noise = np.hypot(depth_tolerance, box_tolerance_px / np.maximum(height_px, MIN_HEIGHT_PX))
    log_p = -0.5 * ((_GRID - np.log(DEFAULT_FOCAL.in_sides)) / DEFAULT_FOCAL.tolerance) ** 2
    for name in sorted({labels[int(k)] for k in np.flatnonzero(usable)}):
        rows = usable & (np.asarray(labels) == name)
        error = _MEDIAN * noise[rows].mean() / np.sqrt(len(set(np.asarray(images)[rows])))
        log_p += _log_likelihood(float(np.median(log_size[rows])), error, np.log(ranges_m[name]))
    weights = np.exp(log_p - log_p.max())
    weights /= weights.sum()
    mean = float(weights @ _GRID)
    return Focal(
        in_sides=float(np.exp(mean)),
        tolerance=float(np.sqrt(weights @ (_GRID - mean) ** 2)),
        objects=int(usable.sum()),
    )


def _log_likelihood(median: float, error: float, bounds: FloatArray) -> FloatArray:
    """Return the log-likelihood of a class for each focal length of the grid.

    Args:
        median: Logarithm of focal length (in sides) times height (in meters) of the median box.
        error: Standard deviation of `median`.
        bounds: Logarithms of the minimum and maximum height.
    """
    low, high = bounds
    height, spread = median - _GRID, max(error, 1e-3)
    within = (ndtr((height - low) / spread) - ndtr((height - high) / spread)) / (high - low)
    return np.log((1 - MISREAD) * within + MISREAD / np.ptp(_GRID))
