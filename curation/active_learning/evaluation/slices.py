"""Named slices of a dataset, such as images at night or in the rain.

A slice is a boolean mask over n samples with a name such as `time_of_day=night`. A sample may
be in several slices, or in none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cascade.arrays import BoolArray, FloatArray, IntArray

DARK = 0.25  # 98 of 100 street photographs by day are brighter; assumed for the night
MIN_SAMPLES = 10  # samples; smaller slices are not informative

# Lowest relative height of the tallest object. A camera with a vertical view of 40 degrees sees
# a cone of 0.7 m at the relative height 0.96 m / distance: 0.2, 0.064 and 0.024 are 5, 15, 40 m.
SIZES = {"near": 0.2, "mid": 0.064, "far": 0.024, "small": 0.0}


def build(
    columns: Mapping[str, Sequence[str | None]],
    *,
    tallest: FloatArray | None = None,
    mean_luma: FloatArray | None = None,
    min_samples: int = MIN_SAMPLES,
) -> dict[str, BoolArray]:
    """Return the slices with at least `min_samples` samples, by name.

    Args:
        columns: Category of each sample by field, such as `weather`; None if unknown.
        tallest: Relative height of each sample's tallest object, shape (n,), NaN without
            objects; adds the slices `size=near`, `mid`, `far` and `small`.
        mean_luma: Mean luminance of each image in [0, 1], shape (n,), NaN if unknown; used for
            samples with unknown `time_of_day`.
        min_samples: Smallest number of samples in a slice.
    """
    categories = dict(columns)
    if mean_luma is not None:
        stored = columns.get("time_of_day") or [None] * len(mean_luma)
        estimated = time_of_day(mean_luma)
        categories["time_of_day"] = [a or b for a, b in zip(stored, estimated, strict=True)]
    masks = {
        f"{field}={category}": np.array([value == category for value in values], bool)
        for field, values in categories.items()
        for category in sorted({value for value in values if value})
    }
    if tallest is not None:
        masks |= {f"size={name}": mask for name, mask in size_masks(tallest).items()}
    return {name: mask for name, mask in masks.items() if mask.sum() >= min_samples}


def size_masks(tallest: FloatArray) -> dict[str, BoolArray]:
    """Return the masks of samples by relative height of their tallest object; NaN is in none."""
    masks, upper = {}, np.inf
    for name, lower in SIZES.items():
        masks[name] = (tallest >= lower) & (tallest < upper)
        upper = lower
    return masks


def tallest_heights(n_images: int, image: IntArray, boxes_xyxy: FloatArray) -> FloatArray:
    """Return the relative height of each image's tallest box, shape (n,); NaN without boxes.

    Args:
        n_images: Number of images.
        image: Image of each box, shape (V,).
        boxes_xyxy: Relative corners, shape (V, 4).
    """
    heights = np.full(n_images, np.nan)
    np.fmax.at(heights, image, boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    return heights


def is_dark(mean_luma: FloatArray) -> BoolArray:
    """Return which images are as dark as a street at night; False if unknown.

    Args:
        mean_luma: Mean of 0.299 R + 0.587 G + 0.114 B over an image, in [0, 1], shape (n,).
    """
    return mean_luma < DARK


def time_of_day(mean_luma: FloatArray) -> list[str | None]:
    """Return `night` or `day` by mean luminance, None if unknown."""
    return [
        None if np.isnan(luma) else "night" if dark else "day"
        for luma, dark in zip(mean_luma, is_dark(mean_luma), strict=True)
    ]
