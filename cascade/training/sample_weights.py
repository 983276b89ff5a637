"""Which images to show more often, from what the champion fails at.

The failure rate of a class, or of a slice, is its share of missed objects, drawn towards the
overall rate where there are few: what failed twice of three is not yet known to be hard. An image
is shown as often as the hardest of what it holds asks for, as in repeat factor sampling.

- [0] Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.errors import TrainingError
from cascade.geometry import boxes
from cascade.predictions import Detections

PRIOR = 10.0  # objects' worth of belief in the overall rate
MOST = 4.0  # times as often as an easy image, at most
_IOU = 0.5


@dataclass(frozen=True)
class Failures:
    """How many objects there were, and how many of them were missed, by name.

    Attributes:
        n: Objects of each class, or in each slice.
        missed: How many of these were not found.
    """

    n: Mapping[str, int]
    missed: Mapping[str, int]

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        wrong = [one for one, missed in self.missed.items() if not 0 <= missed <= self.n[one]]
        if wrong:
            raise TrainingError(f"missed must lie in 0..n for every name, not for {wrong}.")

    def rates(self) -> dict[str, float]:
        """Return the share that was missed of each, in [0, 1], drawn towards the overall share."""
        total = sum(self.n.values())
        overall = sum(self.missed.values()) / total if total else 0.0
        return {
            name: (self.missed.get(name, 0) + PRIOR * overall) / (count + PRIOR)
            for name, count in self.n.items()
        }


def of_classes(
    found: Sequence[Detections], truths: Sequence[Detections], *, least: float = 0.5
) -> Failures:
    """Count by class what was not found at IoU 0.5 with a score of at least `least`.

    Args:
        found: What the champion says about held-out images.
        truths: Their ground truth, in the same classes.
        least: The score from which on it counts as said.
    """
    n: dict[str, int] = {}
    missed: dict[str, int] = {}
    for name, hit in _objects(found, truths, least):
        n[name] = n.get(name, 0) + len(hit)
        missed[name] = missed.get(name, 0) + int((~hit).sum())
    return Failures(n=n, missed=missed)


def of_slices(
    found: Sequence[Detections],
    truths: Sequence[Detections],
    slices: Mapping[str, NDArray[np.bool_]],
    *,
    least: float = 0.5,
) -> Failures:
    """Count likewise by slice; `slices` say of each image whether it belongs to it, shape (n,)."""
    counted = [
        of_classes([said], [truth], least=least) for said, truth in zip(found, truths, strict=True)
    ]
    n = np.array([sum(one.n.values()) for one in counted], np.int64)
    missed = np.array([sum(one.missed.values()) for one in counted], np.int64)
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
    most: float = MOST,
) -> NDArray[np.float64]:
    """Return how often each training image is to be shown, relative to an easy one.

    Args:
        truths: Ground truth of the n training images.
        classes: What the champion fails at, by class.
        slices: The slices that each image belongs to.
        of_slice: What it fails at, by slice.
        most: The highest weight.

    Returns:
        Weights of shape (n,), in [1, most]; 1 for an image in which nothing is harder than usual.
    """
    by_class = _factors(classes, most)
    by_slice = _factors(of_slice, most) if of_slice else {}
    names: Sequence[Collection[str]] = slices or [()] * len(truths)
    return np.array(
        [
            max(
                [1.0]
                + [by_class.get(label, 1.0) for label in set(truth.labels)]
                + [by_slice.get(name, 1.0) for name in own]
            )
            for truth, own in zip(truths, names, strict=True)
        ],
        np.float64,
    )


def _factors(failures: Failures, most: float) -> dict[str, float]:
    """Return how much harder each is than all together, in [1, most]."""
    total = sum(failures.n.values())
    overall = sum(failures.missed.values()) / total if total else 0.0
    if not overall:
        return {}
    return {
        name: float(np.clip(rate / overall, 1.0, most)) for name, rate in failures.rates().items()
    }


def _objects(
    found: Sequence[Detections], truths: Sequence[Detections], least: float
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return for each image and class which of its objects were found."""
    rows = []
    for said, truth in zip(found, truths, strict=True):
        said = said[said.scores >= least]
        said = said[np.argsort(-said.scores, kind="stable")]
        names = np.array(said.labels, object)
        for label in sorted(set(truth.labels)):
            objects = truth[truth.class_ids == truth.classes.index(label)]
            mine = said[names == label] if len(said) else said
            matched = boxes.match(boxes.iou(mine.boxes_xyxy, objects.boxes_xyxy), least=_IOU)
            hit = np.zeros(len(objects), bool)
            hit[matched[matched >= 0]] = True
            rows.append((label, hit))
    return rows
