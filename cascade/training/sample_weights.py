"""Sampling weights of training images, from the failures of the champion.

The failure rate of a class or slice is its share of missed objects, shrunk toward the overall rate:
two misses of three objects are little evidence. The weight of an image is that of its hardest
class or slice, as in repeat factor sampling.

- [0] Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.matching import match_objects

PRIOR = 10.0  # pseudo-objects with the overall rate
MAX_WEIGHT = 4.0  # relative to an easy image


@dataclass(frozen=True)
class Failures:
    """Numbers of objects and of missed objects, by class or slice.

    Attributes:
        n: Number of objects by name.
        missed: Number of missed objects by name.
    """

    n: Mapping[str, int]
    missed: Mapping[str, int]

    def __post_init__(self) -> None:
        """Reject impossible counts."""
        invalid = [name for name, count in self.missed.items() if not 0 <= count <= self.n[name]]
        if invalid:
            raise TrainingError(
                f"missed must be between 0 and n for every name; it is not for {invalid}."
            )

    @property
    def overall(self) -> float:
        """Share of missed objects over all names; 0 without objects."""
        total = sum(self.n.values())
        return sum(self.missed.values()) / total if total else 0.0

    def rates(self) -> dict[str, float]:
        """Return the share of missed objects by name, shrunk toward the overall share."""
        return {
            name: (self.missed.get(name, 0) + PRIOR * self.overall) / (count + PRIOR)
            for name, count in self.n.items()
        }


def count_by_class(
    predictions: Sequence[Detections], truths: Sequence[Detections], *, min_score: float = 0.5
) -> Failures:
    """Count objects without a box at IoU 0.5, by class.

    Args:
        predictions: Predictions of the champion on held-out images.
        truths: Ground truth of the images, with the same classes.
        min_score: Minimal score of a box.
    """
    n: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for prediction, truth in zip(predictions, truths, strict=True):
        _, objects = match_objects(prediction[prediction.scores >= min_score], truth)
        n.update(truth.labels)
        missed.update(label for i, label in enumerate(truth.labels) if i not in objects)
    return Failures(n=n, missed=missed)


def count_by_slice(
    predictions: Sequence[Detections],
    truths: Sequence[Detections],
    slices: Mapping[str, NDArray[np.bool_]],
    *,
    min_score: float = 0.5,
) -> Failures:
    """Count missed objects by slice; each slice is a mask over the images, shape (n,)."""
    counts = [
        count_by_class([prediction], [truth], min_score=min_score)
        for prediction, truth in zip(predictions, truths, strict=True)
    ]
    n = np.array([sum(count.n.values()) for count in counts], np.int64)
    missed = np.array([sum(count.missed.values()) for count in counts], np.int64)
    return Failures(
        n={name: int(n[mask].sum()) for name, mask in slices.items()},
        missed={name: int(missed[mask].sum()) for name, mask in slices.items()},
    )


def image_weights(
    truths: Sequence[Detections],
    classes: Failures,
    *,
    slices: Sequence[Collection[str]] | None = None,
    of_slice: Failures | None = None,
    max_weight: float = MAX_WEIGHT,
) -> NDArray[np.float64]:
    """Return the sampling weight of each training image, relative to an easy one.

    Args:
        truths: Ground truth of the n training images.
        classes: Failures of the champion by class.
        slices: Slices of each image.
        of_slice: Failures of the champion by slice.
        max_weight: Maximal weight.

    Returns:
        Weights of shape (n,), in [1, max_weight]; 1 for an image without a harder class or slice.
    """
    by_class = _factors(classes, max_weight)
    by_slice = _factors(of_slice, max_weight) if of_slice else {}
    names: Sequence[Collection[str]] = slices or [()] * len(truths)
    weights = [
        max(
            [1.0]
            + [by_class.get(label, 1.0) for label in set(truth.labels)]
            + [by_slice.get(name, 1.0) for name in names_of_image]
        )
        for truth, names_of_image in zip(truths, names, strict=True)
    ]
    return np.array(weights, np.float64)


def _factors(failures: Failures, max_weight: float) -> dict[str, float]:
    """Return the failure rates relative to the overall rate, in [1, max_weight]."""
    if not failures.overall:
        return {}
    return {
        name: float(np.clip(rate / failures.overall, 1.0, max_weight))
        for name, rate in failures.rates().items()
    }
