"""Files of a nightly run: its result, and the batch with the reasons for its selection."""

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


def write_artifacts(
    folder: Path, run: Run, dataset: Dataset, result: Mapping[str, Any]
) -> list[str]:
    """Write the files of a run into its subfolder of `folder`; return their paths.

    `result.json` contains `result`; `batch.csv` the samples of its round in labeling order. A
    second attempt writes the same files.

    Raises:
        StoreError: The files cannot be written.
    """
    run_folder = folder / f"{run.due:%Y-%m-%dT%H%M%S}"
    paths = [run_folder / "result.json"]
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(json.dumps(dict(result), indent=1))
        if "round" in result:
            paths.append(run_folder / "batch.csv")
            _write_batch(paths[1], dataset, round_name(result["round"]))
    except OSError as error:
        raise StoreError(
            f"Cannot write the result to {run_folder}: {error.strerror}. Free some space or grant "
            "write permission there; the next attempt continues."
        ) from error
    return [str(path) for path in paths]


def _write_batch(path: Path, dataset: Dataset, tag: str) -> None:
    chosen = dataset.match_tags(tag)
    fields = chosen.get_field_schema()
    columns = reader.read_columns(chosen, [name for name in _COLUMNS if name in fields])
    rank = list(columns).index(schema.RANK)
    rows = sorted(zip(*columns.values(), strict=True), key=lambda row: row[rank])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow(" ".join(cell) if isinstance(cell, list) else cell for cell in row)
