"""From columns of a dataset to the tasks that a labeling backend is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.arrays import FloatArray
from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation import slices
from curation.errors import LabelingError
from curation.labeling.protocol import Task
from curation.storage.tags import parse_arm


@dataclass(frozen=True, eq=False)
class Columns:
    """What is known of n chosen samples, each attribute with one entry per sample.

    Attributes:
        ids: Sample ids.
        filepaths: Where the images are.
        sizes_wh: Width and height of each upright image, in pixels; None where unknown.
        ranks: Place in the batch, from 1; None where it was chosen by hand.
        tags: The sample tags, among them `arm:...`.
        hardness: In [0, 1], or None.
        because: Why it was chosen, or None.
        predictions: What the ensemble believes.
        slices: Those that each is in, in words; see `in_slices`.
    """

    ids: Sequence[str]
    filepaths: Sequence[str]
    sizes_wh: Sequence[tuple[int, int] | None]
    ranks: Sequence[int | None]
    tags: Sequence[Sequence[str]]
    hardness: Sequence[float | None]
    because: Sequence[str | None]
    predictions: Sequence[Detections]
    slices: Sequence[str]


def build(round_number: int, chosen: Columns) -> list[Task]:
    """Return one task per chosen sample, by rank; samples without one come last.

    Raises:
        LabelingError: The size of an image is not known.
    """
    return [_task(round_number, chosen, i) for i in _by_rank(chosen.ranks)]


def arm_of(tags: Sequence[str]) -> str:
    """Return why a sample is in a batch, from its tags: `hard`; empty where no tag says so."""
    return next((arm for tag in tags if (arm := parse_arm(tag)) is not None), "")


def in_slices(columns: Mapping[str, Sequence[str | None]], mean_luma: FloatArray) -> list[str]:
    """Return the slices that each sample is in, such as `time_of_day=night, weather=rain`.

    Args:
        columns: A category of each of n samples by field; None where unknown.
        mean_luma: Mean luminance of each image in [0, 1], shape (n,); NaN where unmeasured.
    """
    masks = slices.build(columns, mean_luma=mean_luma, min_samples=1)
    return [
        ", ".join(name for name, mask in masks.items() if mask[i]) for i in range(len(mean_luma))
    ]


def in_classes(boxes: Detections, taxonomy: Taxonomy) -> Detections:
    """Return boxes in the classes of a taxonomy, without those that mean none of them."""
    ids = np.asarray(taxonomy.ids_of(boxes.labels), np.int64)
    named = ids >= 0
    return Detections(
        boxes_xyxy=boxes.boxes_xyxy[named],
        scores=boxes.scores[named],
        class_ids=ids[named],
        classes=taxonomy.names,
    )


def _by_rank(ranks: Sequence[int | None]) -> list[int]:
    last = max((rank for rank in ranks if rank is not None), default=0) + 1
    return sorted(range(len(ranks)), key=lambda i: (ranks[i] or last, i))


def _task(round_number: int, chosen: Columns, i: int) -> Task:
    size = chosen.sizes_wh[i]
    if size is None:
        raise LabelingError(
            f"The size of {chosen.filepaths[i]} is not known, so its boxes could not be read "
            "back. Ingest it again, or run `dataset.compute_metadata()`."
        )
    return Task(
        sample_id=chosen.ids[i],
        filepath=chosen.filepaths[i],
        width=size[0],
        height=size[1],
        round=round_number,
        rank=chosen.ranks[i] or 0,
        arm=arm_of(chosen.tags[i]),
        hardness=chosen.hardness[i],
        because=chosen.because[i] or "",
        predictions=chosen.predictions[i],
        slices=chosen.slices[i],
    )
