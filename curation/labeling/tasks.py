"""From columns of a dataset to the tasks that a labeling backend is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.protocol import Task

_ARM = "arm:"


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
    """

    ids: Sequence[str]
    filepaths: Sequence[str]
    sizes_wh: Sequence[tuple[int, int] | None]
    ranks: Sequence[int | None]
    tags: Sequence[Sequence[str]]
    hardness: Sequence[float | None]
    because: Sequence[str | None]
    predictions: Sequence[Detections]


def build(round_number: int, chosen: Columns) -> list[Task]:
    """Return one task per chosen sample, by rank; samples without one come last.

    Raises:
        LabelingError: The size of an image is not known.
    """
    return [_task(round_number, chosen, i) for i in _by_rank(chosen.ranks)]


def arm_of(tags: Sequence[str]) -> str:
    """Return why a sample is in a batch, from its tags: `hard`; empty where no tag says so."""
    return next((tag.removeprefix(_ARM) for tag in tags if tag.startswith(_ARM)), "")


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
    )
