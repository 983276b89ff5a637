"""How long a camera's lens is, from objects whose real size is roughly known.

An object of height h at distance d is h · focal / d pixels high, so boxes of a class whose
heights are known say what the focal length may be. A drive has one camera, so all its boxes are
asked together: a posterior over the logarithm of the focal length, on a grid.

* The median object of a class, in this drive, is taken to be of any height in the class's range:
  a wide range (vehicles) says little, however many there are, a narrow one (workers, drums)
  much. Taking every object for the middle of its range would say more, and be a third off in a
  drive past cars, which are low for vehicles.
* A median is deaf to a minority of wrong boxes. How well it is known counts images, not
  objects: the depth of an image may be off as a whole.
* One class in ten may be misread altogether: its range is doubted, not obeyed.
* Before any object: 70 degrees across, as street cameras have: KITTI 81, Cityscapes 49,
  nuScenes 65 [0, 1, 2], a phone's main camera 69 (26 mm equivalent).

What is found is the focal length times whatever factor the depth is wrong by throughout the
drive. Sizes need just that product. Distances do not: do not correct them by it.

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

LEAST_PX = 10.0  # of a box's height: below, its edges say more about the detector
MISREAD = 0.1  # share of classes whose typical object is not of its range

_GRID = np.arange(np.log(0.2), np.log(5.0), 0.01)  # 136 to 11 degrees across
_MEDIAN = float(np.sqrt(np.pi / 2))  # standard error of a median, in those of a mean


@dataclass(frozen=True)
class Focal:
    """A focal length, and how well it is known.

    Attributes:
        in_sides: The focal length divided by the longer side of the image, so that it holds for
            every size that the camera's images are scaled to.
        tolerance: Standard deviation of its natural logarithm; 0.1 is about 10 %.
        objects: How many boxes had a say.
    """

    in_sides: float
    tolerance: float
    objects: int

    def px(self, size_px: tuple[int, int]) -> float:
        """Return it in pixels of an image of so many pixels, height and width."""
        return self.in_sides * max(size_px)


DEFAULT_FOCAL = Focal(in_sides=float(0.5 / np.tan(np.radians(70 / 2))), tolerance=0.35, objects=0)
"""What is assumed of a camera that nobody knows anything of."""


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

    Only heights are asked: a vehicle's width depends on where it is seen from. Boxes that the
    border may cut off, low ones, those without a distance and classes without a range of
    heights have no say; where nothing is left, the answer is `DEFAULT_FOCAL`.

    Args:
        boxes_xyxy: Relative corners of the K boxes of all images, shape (K, 4).
        labels: The class name of each box.
        distance_m: Distance of each, shape (K,), NaN where unknown.
        images: Which image each is of.
        size_px: Height and width of the images, in pixels: shape (2,) or (K, 2).
        taxonomy: Whose ranges hold.
        depth_tolerance: Standard deviation of the logarithm of the distances.
        box_tolerance_px: Standard deviation of a box's height.

    Raises:
        BadPredictionsError: Lengths differ.
    """
    if not len(boxes_xyxy) == len(labels) == len(distance_m) == len(images):
        raise BadPredictionsError(
            "boxes_xyxy, labels, distance_m and images must be of the same boxes, got "
            f"{len(boxes_xyxy)}, {len(labels)}, {len(distance_m)} and {len(images)}."
        )
    image_px = np.broadcast_to(np.asarray(size_px, np.float64), (len(labels), 2))
    height_px = (boxes_xyxy[:, 3] - boxes_xyxy[:, 1]) * image_px[:, 0]
    known = {one.name: one.height_m for one in taxonomy.classes if one.height_m}
    usable = np.array([one in known for one in labels], bool) & (height_px >= LEAST_PX)
    usable &= ~touches_border(boxes_xyxy)[:, 1] & np.isfinite(distance_m) & (distance_m > 0)
    if not usable.any():
        return DEFAULT_FOCAL
    seen = np.log(height_px / image_px.max(axis=1), where=usable, out=np.zeros(len(usable)))
    seen += np.log(distance_m, where=usable, out=np.zeros(len(usable)))
    noise = np.hypot(depth_tolerance, box_tolerance_px / np.maximum(height_px, LEAST_PX))
    log_p = -0.5 * ((_GRID - np.log(DEFAULT_FOCAL.in_sides)) / DEFAULT_FOCAL.tolerance) ** 2
    for name in sorted({labels[int(k)] for k in np.flatnonzero(usable)}):
        mine = usable & (np.asarray(labels) == name)
        error = _MEDIAN * noise[mine].mean() / np.sqrt(len(set(np.asarray(images)[mine])))
        log_p += _log_likelihood(float(np.median(seen[mine])), error, np.log(known[name]))
    weights = np.exp(log_p - log_p.max())
    weights /= weights.sum()
    mean = float(weights @ _GRID)
    return Focal(
        in_sides=float(np.exp(mean)),
        tolerance=float(np.sqrt(weights @ (_GRID - mean) ** 2)),
        objects=int(usable.sum()),
    )


def _log_likelihood(median: float, error: float, bounds: FloatArray) -> FloatArray:
    """Return what a class says about each focal length of the grid.

    Args:
        median: Logarithm of focal length (in sides) times height (in metres), of its median box.
        error: Standard deviation of that.
        bounds: Logarithm of the least and greatest height.
    """
    low, high = bounds
    height, spread = median - _GRID, max(error, 1e-3)
    within = (ndtr((height - low) / spread) - ndtr((height - high) / spread)) / (high - low)
    return np.log((1 - MISREAD) * within + MISREAD / np.ptp(_GRID))
