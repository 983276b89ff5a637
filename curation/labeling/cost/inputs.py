"""Reading what a preview needs: the batch, or who would be in it, and what earlier rounds took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.errors import StageError
from curation.labeling.cost import preview
from curation.labeling.cost.preview import Preview, Timed
from curation.labeling.media import require_images
from curation.settings import Settings
from curation.storage import queries, reader, rounds, schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset


def outlook(dataset: Dataset, round_number: int, settings: Settings, *, budget: int) -> Preview:
    """Return what labeling a round of a dataset will take.

    Args:
        dataset: The FiftyOne dataset.
        round_number: The round that is to be labeled, from 1.
        settings: Where records are kept.
        budget: How many samples would be chosen, where the round has not chosen yet.

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
                f"Nobody can say how many boxes to expect in {dataset.name!r} before it was "
                f"scored. Run `curate score {dataset.name}`."
            )
        # The hardest stand for the batch: choosing itself would also vary it.
        view = view.sort_by(schema.HARDNESS, reverse=True).limit(budget)
    elif not len(view):
        raise StageError(f"All of round {round_number} of {dataset.name!r} is labeled.")
    expected = queries.float_array(
        reader.read_columns(view, [schema.EXPECTED_BOXES])[schema.EXPECTED_BOXES]
    )
    done = rounds.finished_rounds(settings.home, dataset.name)
    return preview.preview(
        np.nan_to_num(expected, nan=1.0),
        _timed(settings.dataset_folder(dataset.name), done),
        preview.gains([one.read(rounds.VERDICT) for one in done]),
        chosen=bool(len(chosen)),
    )


def _timed(folder: Path, done: list[rounds.Round]) -> list[Timed]:
    """Return the finest that was measured: of samples, else of whole rounds."""
    return preview.timed_samples(_notes(folder)) or preview.timed_rounds(
        one.record() for one in done
    )


def _notes(folder: Path) -> Iterator[dict[str, Any]]:
    """Give what labelers noted of each sample of any round."""
    for path in sorted((folder / "labeling").glob("*/round-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise StageError(f"{path} cannot be read: {error}. Move it away.") from error
            yield row
