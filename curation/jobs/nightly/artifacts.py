"""What a night leaves to look at: the batch with its reasons, and all that was done, as files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import StoreError
from curation.jobs.models import Run
from curation.storage import reader, schema
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset

_COLUMNS = ("filepath", schema.RANK, schema.HARDNESS, schema.CHOSEN_BECAUSE, "tags")


def keep(folder: Path, run: Run, dataset: Dataset, done: Mapping[str, Any]) -> list[str]:
    """Write what a run did into a folder of its own below `folder`; return the files.

    `result.json` holds `done`; `batch.csv` the samples of its round, first to be labeled first.
    A second attempt writes the same files.

    Raises:
        StoreError: The disk did not take them.
    """
    own = folder / f"{run.due:%Y-%m-%dT%H%M%S}"
    made = [own / "result.json"]
    try:
        own.mkdir(parents=True, exist_ok=True)
        made[0].write_text(json.dumps(dict(done), indent=1))
        if "round" in done:
            made.append(own / "batch.csv")
            _write_batch(made[1], dataset, round_name(done["round"]))
    except OSError as error:
        raise StoreError(
            f"What the night did cannot be kept in {own}: {error.strerror}. Make room or give "
            "write permission there; the next attempt goes on."
        ) from error
    return [str(one) for one in made]


def _write_batch(path: Path, dataset: Dataset, tag: str) -> None:
    chosen = dataset.match_tags(tag)
    known = chosen.get_field_schema()
    columns = reader.read_columns(chosen, [one for one in _COLUMNS if one in known])
    rank = list(columns).index(schema.RANK)
    found = sorted(zip(*columns.values(), strict=True), key=lambda row: row[rank])
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for row in found:
            rows.writerow(" ".join(one) if isinstance(one, list) else one for one in row)
