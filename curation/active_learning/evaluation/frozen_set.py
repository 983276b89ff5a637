"""Frozen evaluation set: the labeled images of a split, in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.inference import decision
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation import slices
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

MIN_CALIBRATION_IMAGES = 10
_SLICE_FIELDS = (schema.TIME_OF_DAY, schema.WEATHER)


@dataclass(frozen=True, eq=False)
class FrozenSet:
    """Images for the comparison of ensembles, in a fixed order.

    Attributes:
        split: Name of the split.
        ids: Sample ids, length n.
        paths: Image files.
        drives: Drive or source photograph of each image: the unit of bootstrap resampling.
        sizes_px: Height and width, shape (n, 2).
        truths: Ground truth, in canonical classes.
        slices: Named masks of shape (n,).
    """

    split: str
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    drives: tuple[str, ...]
    sizes_px: NDArray[np.int64]
    truths: tuple[Detections, ...]
    slices: Mapping[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.ids)

    def decisions(self, taxonomy: Taxonomy) -> NDArray[np.bool_]:
        """Return the true image decisions: whether a deciding class is visible, shape (n,)."""
        return decision.true_decisions(self.truths, taxonomy)

    @property
    def can_calibrate(self) -> bool:
        """Whether there are enough images to fit a calibration."""
        return len(self) >= MIN_CALIBRATION_IMAGES


def frozen_set(samples: SampleCollection, split: str, taxonomy: Taxonomy) -> FrozenSet:
    """Return the images of a split whose ground truth came with the data."""
    view = queries.labeled(samples, split).match({schema.LABELED_ROUND: 0})
    ids, paths = collection.ids_and_paths(view)
    truths = reader.read_detections(view, schema.GROUND_TRUTH, taxonomy)
    columns = reader.read_columns(view, [schema.DRIVE, schema.LUMA, *_SLICE_FIELDS])
    del columns["id"]
    drives, luma = columns.pop(schema.DRIVE), columns.pop(schema.LUMA)
    heights = [_tallest(truth.boxes_xyxy) for truth in truths]
    return FrozenSet(
        split=split,
        ids=tuple(ids),
        paths=tuple(paths),
        drives=tuple(drive or path for drive, path in zip(drives, paths, strict=True)),
        sizes_px=reader.sizes_px(view),
        truths=tuple(truths),
        slices=slices.build(
            columns, tallest=np.array(heights, float), mean_luma=queries.float_array(luma)
        ),
    )


def _tallest(boxes_xyxy: FloatArray) -> float:
    """Return the relative height of the tallest box, NaN without boxes."""
    return float((boxes_xyxy[:, 3] - boxes_xyxy[:, 1]).max()) if len(boxes_xyxy) else float("nan")
