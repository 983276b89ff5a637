"""Page of the drift panel: whether new images resemble earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from bson import ObjectId

from curation import formatting
from curation.app.panels import plotly_figures
from curation.app.panels.components import (
    Button,
    Buttons,
    Component,
    Notice,
    Page,
    Plot,
    Table,
    Text,
)
from curation.app.panels.pages import empty_dataset
from curation.errors import StageError
from curation.jobs.models import Run
from curation.jobs.nightly import drift
from curation.jobs.store import JobStore
from curation.presentation import cache
from curation.presentation.cache import CachedFigures
from curation.report.figures import BLUE, VERMILION
from curation.storage import collection, reader, schema
from curation.storage.collection import dataset_of
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

T = TypeVar("T")

GRID, NEWEST = "grid", "newest"  # which images to compare
NAME = "drift"  # key of the cached comparison
BINS = 30
_MAX_IMAGES = 5000  # per side; more are thinned out
_MAX_RUNS = 10
_DAY = timedelta(days=1)
_ID_BYTES = 12


def build_page(dataset: Dataset) -> Page:
    """Return the page of a dataset: the last comparison, and the results of jobs."""
    if not cache.size(dataset):
        return empty_dataset(dataset)
    if dataset.info.get(schema.EMBEDDER_INFO) is None:
        return Page.message(
            "The samples are not embedded yet",
            f"Run `curate embed {dataset.name}`: images are compared by their embeddings.",
        )
    comparison = cache.read(dataset, NAME)
    newest = Button(
        "measure",
        "Compare the newest day",
        "today",
        {"selection": NEWEST},
        primary=comparison is None,
    )
    grid = Button("measure", "Compare the images in the grid", "grid_view", {"selection": GRID})
    return Page.of(
        *(_uncompared() if comparison is None else _result(comparison)),
        Buttons("measuring", (newest, grid)),
        _job_results(dataset),
    )


def measure(dataset: Dataset, view: DatasetView, selection: str) -> str:
    """Compare some samples with all others, cache the result, and return it as a sentence.

    Args:
        dataset: A FiftyOne dataset.
        view: Samples in the grid.
        selection: `newest` for the samples of the newest day; `grid` for those of the view.

    Raises:
        StageError: One side is too small, or has no embeddings.
    """
    new = _newest_day(dataset) if selection == NEWEST else view
    description = "added on the newest day" if selection == NEWEST else "in the grid"
    content = _compare(dataset, set(new.values("id")), description)
    cache.update(dataset, NAME, lambda _: content)
    return str(content["sentence"])


def column_view(dataset: Dataset, center: float) -> DatasetView:
    """Return the new samples in a column of the histogram, most distant first."""
    comparison = cache.read(dataset, NAME)
    if comparison is None:
        return dataset.limit(0)
    content = comparison.content
    width = content["top"] / BINS
    distances = np.array(content["distances"], float)
    column = np.minimum((distances / width).astype(int), BINS - 1)
    rows = np.flatnonzero(column == int(float(center) / width))
    rows = rows[np.argsort(-distances[rows], kind="stable")]
    ids = bytes(content["ids"])
    selected = [ids[_ID_BYTES * i : _ID_BYTES * (i + 1)].hex() for i in rows]
    return dataset.select(selected, ordered=True)


def _compare(dataset: Dataset, new: set[str], description: str) -> dict[str, Any]:
    note = dataset.info[schema.EMBEDDER_INFO]
    embedded = VectorTable(Path(note["folder"]), note["fingerprint"]).ids()
    ids, _ = collection.ids_and_paths(dataset)
    drives = reader.read_columns(dataset, [schema.DRIVE])[schema.DRIVE]
    rows = [(i, drive) for i, drive in zip(ids, drives, strict=True) if i in embedded]
    new_ids = _thin_out(sorted(i for i, _ in rows if i in new))
    reference = _thin_out(sorted((i, drive) for i, drive in rows if i not in new))
    vectors = brain_runs.read_vectors(dataset, [*new_ids, *(i for i, _ in reference)])
    new_vectors, reference_vectors = vectors[: len(new_ids)], vectors[len(new_ids) :]
    result = drift.measure(new_vectors, reference_vectors, [drive for _, drive in reference])
    if result is None:
        images = formatting.quantity(len(new_ids), "embedded image")
        raise StageError(
            f"Too few images to compare: {images} {description} and {len(reference):,} others. "
            f"At least {drift.LEAST_NIGHT} and {drift.LEAST_REFERENCE} are needed, from more than "
            "one drive. Show more images in the grid, or embed more."
        )
    distances = drift.nearest(new_vectors, reference_vectors)
    return {
        **asdict(result),
        "sentence": result.sentence,
        "what": description,
        "top": max(float(distances.max()), result.usual) * 1.02 or 1.0,
        "distances": [float(distance) for distance in distances],
        "ids": b"".join(ObjectId(i).binary for i in new_ids),
    }


def _thin_out(rows: Sequence[T]) -> Sequence[T]:
    return rows[:: max(1, -(-len(rows) // _MAX_IMAGES))]


def _newest_day(dataset: Dataset) -> DatasetView:
    _, last = dataset.bounds("created_at")
    day = last.replace(hour=0, minute=0, second=0, microsecond=0)
    return dataset.match({"created_at": {"$gte": day, "$lt": day + _DAY}})


def _uncompared() -> list[Component]:
    return [
        Notice(
            "unmeasured",
            "Nothing has been compared yet",
            "New images are compared with all others. An image is far if its nearest earlier image "
            "is farther away than earlier images usually are from each other. If more than half of "
            "the new images are far, they have drifted.",
        )
    ]


def _result(comparison: CachedFigures) -> list[Component]:
    content = comparison.content
    label = "Unlike earlier images" if content["drifted"] else "Like earlier images"
    images = formatting.quantity(content["night"], "image")
    return [
        Notice(
            "result", f"{label}: {images} {content['what']}", content["sentence"],
            "warning" if content["drifted"] else "success",
        ),
        _distances(content),
        Text("age", comparison.describe_age()),
    ]  # fmt: skip


def _distances(content: Mapping[str, Any]) -> Plot:
    counts, edges = np.histogram(content["distances"], bins=BINS, range=(0.0, content["top"]))
    centers = (edges[:-1] + edges[1:]) / 2
    usual = content["usual"]
    is_right = usual > content["top"] / 2
    line = {
        "type": "line", "x0": usual, "x1": usual, "yref": "paper", "y0": 0, "y1": 1,
        "line": {"color": VERMILION, "width": 2, "dash": "dot"},
    }  # fmt: skip
    annotation = {
        "x": usual, "yref": "paper", "y": 1, "text": "99% of earlier images are nearer",
        "showarrow": False, "xanchor": "right" if is_right else "left",
        "xshift": -6 if is_right else 6, "font": {"color": VERMILION},
    }  # fmt: skip
    colors = [VERMILION if center > usual else BLUE for center in centers]
    return plotly_figures.histogram(
        "distances", "Distance to the nearest earlier image",
        [round(float(center), 6) for center in centers], counts.tolist(),
        x="cosine distance", y="new images", colors=colors, on_click="show_column",
        hint="Click a column to see its images, the most distant first.",
        xaxis={"range": [0, content["top"]]}, shapes=[line], annotations=[annotation],
    )  # fmt: skip


def _job_results(dataset: Dataset) -> Table | None:
    """Return the drift that jobs measured on this dataset, latest first."""
    history = JobStore(dataset_of(dataset)._sample_collection.database)
    names = {job.name for job in history.jobs() if job.options.get("dataset") == dataset.name}
    runs = [run for run in history.runs(limit=20 * _MAX_RUNS) if run.job in names]
    rows = [row for run in runs if (row := _job_row(run))][:_MAX_RUNS]
    if not rows:
        return None
    headings = {"when": "due", "job": "job", "state": "state", "drift": "drift"}
    return Table("jobs", "Results of scheduled jobs", headings, rows)


def _job_row(run: Run) -> dict[str, str] | None:
    result = run.result.get("drift")
    if result:
        sentence = drift.Drift(**result).sentence
    elif run.state == "refused" and run.reason:
        sentence = run.reason
    else:
        return None
    age = formatting.time_ago((datetime.now(UTC) - run.due).total_seconds())
    return {"when": age, "job": run.job, "state": run.state, "drift": sentence}
