"""Named parts of a dataset: at night, in the rain, with far objects only.

A slice is a boolean mask over n samples under a name such as `time_of_day=night`. A sample may
be in several, or in none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cascade.arrays import BoolArray, FloatArray, IntArray

DARK = 0.25  # 98 of 100 street photographs by day are brighter; for the night it is assumed
MIN_SAMPLES = 10  # samples: a smaller slice says nothing

# Least relative height of the tallest object. A camera with a vertical view of 40 degrees sees
# a cone of 0.7 m at the relative height 0.96 m / distance: 0.2, 0.064 and 0.024 are 5, 15, 40 m.
SIZES = {"near": 0.2, "mid": 0.064, "far": 0.024, "small": 0.0}


def build(
    columns: Mapping[str, Sequence[str | None]],
    *,
    tallest: FloatArray | None = None,
    mean_luma: FloatArray | None = None,
    min_samples: int = MIN_SAMPLES,
) -> dict[str, BoolArray]:
    """Return the slices that hold at least `min_samples` samples, by name.

    Args:
        columns: A category of each sample by field, for instance `weather`; None where unknown.
        tallest: Relative height of each sample's tallest object, shape (n,); NaN without any.
            They become `size=near`, `mid`, `far` and `small`.
        mean_luma: Mean luminance of each image in [0, 1], shape (n,); NaN where unmeasured.
            It stands in where `time_of_day` is not known.
        min_samples: Smaller slices are left out.
    """
    filled = dict(columns)
    if mean_luma is not None:
        known = columns.get("time_of_day") or [None] * len(mean_luma)
        filled["time_of_day"] = [a or b for a, b in zip(known, time_of_day(mean_luma), strict=True)]
    masks = {
        f"{name}={value}": np.array([one == value for one in values], bool)
        for name, values in filled.items()
        for value in sorted({one for one in values if one})
    }
    if tallest is not None:
        masks |= {f"size={name}": mask for name, mask in size_masks(tallest).items()}
    return {name: mask for name, mask in masks.items() if mask.sum() >= min_samples}


def size_masks(tallest: FloatArray) -> dict[str, BoolArray]:
    """Return which samples' tallest object is near, mid, far or small; NaN is in none."""
    masks, above = {}, np.inf
    for name, least in SIZES.items():
        masks[name] = (tallest >= least) & (tallest < above)
        above = least
    return masks


def tallest_heights(n_images: int, image: IntArray, boxes_xyxy: FloatArray) -> FloatArray:
    """Return the relative height of each image's tallest box, shape (n,); NaN without boxes.

    Args:
        n_images: The number of images.
        image: The image of each box, shape (V,).
        boxes_xyxy: Relative corners, shape (V, 4).
    """
    found = np.full(n_images, np.nan)
    np.fmax.at(found, image, boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    return found


def is_dark(mean_luma: FloatArray) -> BoolArray:
    """Return which images are as dark as a street at night; False where unmeasured.

    Args:
        mean_luma: Mean of 0.299 R + 0.587 G + 0.114 B over an image, in [0, 1], shape (n,).
    """
    return mean_luma < DARK


def time_of_day(mean_luma: FloatArray) -> list[str | None]:
    """Return `night` or `day` by mean luminance, None where unmeasured."""
    return [
        None if np.isnan(luma) else "night" if dark else "day"
        for luma, dark in zip(mean_luma, is_dark(mean_luma), strict=True)
    ]
