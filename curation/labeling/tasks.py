"""Tasks for a labeling backend, built from the columns of a dataset."""

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
    """Values of n chosen samples, one entry per sample in each attribute.

    Attributes:
        ids: Sample ids.
        filepaths: Paths of the images.
        sizes_wh: Width and height of each upright image, in pixels; None if unknown.
        ranks: Rank in the batch, from 1; None for samples chosen by hand.
        tags: Sample tags, including `arm:...`.
        hardness: In [0, 1], or None.
        because: Reason for the choice, or None.
        predictions: Boxes of the ensemble.
        slices: Names of the slices of each sample, see `slice_names`.
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
    """Return one task per chosen sample, by rank; samples without a rank come last.

    Raises:
        LabelingError: The size of an image is unknown.
    """
    return [_task(round_number, chosen, i) for i in _by_rank(chosen.ranks)]


def require_one_round(tasks: Sequence[Task]) -> int:
    """Return the number of the round of all tasks.

    Raises:
        LabelingError: The tasks belong to several rounds.
    """
    rounds = {task.round for task in tasks}
    if len(rounds) > 1:
        raise LabelingError("The tasks belong to several rounds. Push one round at a time.")
    return rounds.pop()


def arm_of(tags: Sequence[str]) -> str:
    """Return the arm of a sample from its tags, such as `hard`; empty if no tag names one."""
    return next((arm for tag in tags if (arm := parse_arm(tag)) is not None), "")


def slice_names(columns: Mapping[str, Sequence[str | None]], mean_luma: FloatArray) -> list[str]:
    """Return the slices of each sample, such as `time_of_day=night, weather=rain`.

    Args:
        columns: Category of each of n samples, by field; None if unknown.
        mean_luma: Mean luminance of each image in [0, 1], shape (n,); NaN if not measured.
    """
    masks = slices.build(columns, mean_luma=mean_luma, min_samples=1)
    return [
        ", ".join(name for name, mask in masks.items() if mask[i]) for i in range(len(mean_luma))
    ]


def to_taxonomy(boxes: Detections, taxonomy: Taxonomy) -> Detections:
    """Return boxes in the classes of a taxonomy, without boxes of other classes."""
    ids = np.asarray(taxonomy.ids_of(boxes.labels), np.int64)
    has_class = ids >= 0
    return Detections(
        boxes_xyxy=boxes.boxes_xyxy[has_class],
        scores=boxes.scores[has_class],
        class_ids=ids[has_class],
        classes=taxonomy.names,
    )


def _by_rank(ranks: Sequence[int | None]) -> list[int]:
    last = max((rank for rank in ranks if rank is not None), default=0) + 1
    return sorted(range(len(ranks)), key=lambda i: (ranks[i] or last, i))


def _task(round_number: int, chosen: Columns, i: int) -> Task:
    size = chosen.sizes_wh[i]
    if size is None:
        raise LabelingError(
            f"The size of {chosen.filepaths[i]} is unknown, and boxes cannot be read back without "
            "it. Ingest the image again, or run `dataset.compute_metadata()`."
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
