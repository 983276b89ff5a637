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
from curation.storage import collection, queries, reader
from curation.storage import schema as fields

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

MIN_CALIBRATION_IMAGES = 10
_SLICED_BY = (fields.TIME_OF_DAY, fields.WEATHER)


@dataclass(frozen=True, eq=False)
class FrozenSet:
    """The images that ensembles are compared on, in a fixed order.

    Attributes:
        split: Its name.
        ids: Sample ids, n of them.
        paths: The image files.
        drives: The drive or source photograph of each: what a bootstrap resamples.
        sizes_px: Height and width, shape (n, 2).
        truths: Ground truth boxes in canonical classes.
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
        """Return the true image decision: a deciding class is visible. Shape (n,)."""
        return decision.true_decisions(self.truths, taxonomy)

    @property
    def can_calibrate(self) -> bool:
        """Whether there are enough images to fit a calibration on, whatever they show."""
        return len(self) >= MIN_CALIBRATION_IMAGES


def frozen_set(samples: SampleCollection, split: str, taxonomy: Taxonomy) -> FrozenSet:
    """Return the images of a split whose ground truth came with the data, in a fixed order."""
    view = queries.labeled(samples, split).match({fields.LABELED_ROUND: 0})
    ids, paths = collection.ids_and_paths(view)
    truths = reader.read_detections(view, fields.GROUND_TRUTH, taxonomy)
    columns = reader.read_columns(view, [fields.DRIVE, fields.LUMA, *_SLICED_BY])
    del columns["id"]
    drives, luma = columns.pop(fields.DRIVE), columns.pop(fields.LUMA)
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
