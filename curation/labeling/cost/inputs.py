"""Inputs of a cost preview: the samples of a batch, and labeling times of earlier rounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.errors import StageError
from curation.labeling.cost import preview
from curation.labeling.cost.preview import Preview
from curation.labeling.protocol import require_images
from curation.settings import Settings
from curation.storage import queries, reader, rounds, schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset


def preview_round(
    dataset: Dataset, round_number: int, settings: Settings, *, budget: int
) -> Preview:
    """Return the cost preview of a round.

    Args:
        dataset: The FiftyOne dataset.
        round_number: Number of the round to label, from 1.
        settings: Settings with the folder of records.
        budget: Number of samples, if the round has not chosen its samples yet.

    Raises:
        LabelingError: The dataset is not of images.
        StageError: Nothing is left to label, or the pool was not scored.
    """
    require_images(dataset.name, dataset.media_type)
    chosen = dataset.match_tags(round_name(round_number))
    view = queries.pool(chosen if len(chosen) else dataset)
    if not len(chosen):
        queries.require_pool(view, dataset.name)
        if dataset.get_field(schema.EXPECTED_BOXES) is None:
            raise StageError(
                f"The expected number of boxes in {dataset.name!r} is unknown before scoring. "
                f"Run `curate score {dataset.name}`."
            )
        # The hardest samples stand in for the batch: choosing it would also add variety.
        view = view.sort_by(schema.HARDNESS, reverse=True).limit(budget)
    elif not len(view):
        raise StageError(f"All of round {round_number} of {dataset.name!r} is labeled.")
    expected = queries.float_array(
        reader.read_columns(view, [schema.EXPECTED_BOXES])[schema.EXPECTED_BOXES]
    )
    finished = rounds.finished_rounds(settings.home, dataset.name)
    samples = preview.sample_measurements(_sample_rows(settings.dataset_folder(dataset.name)))
    return preview.preview(
        np.nan_to_num(expected, nan=1.0),
        samples or preview.round_measurements(past.record() for past in finished),
        preview.gains([past.read(rounds.VERDICT) for past in finished]),
        chosen=bool(len(chosen)),
    )


def _sample_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows that labelers stored for each sample of any round."""
    for path in sorted((folder / "labeling").glob("*/round-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise StageError(f"Cannot parse {path}: {error}. Move the file away.") from error
            yield row
