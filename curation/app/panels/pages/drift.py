"""The page about drift: are the newest images anything like those before?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import ObjectId

from curation.app.panels import plotly_figures, text
from curation.app.panels.components import Button, Buttons, Notice, Page, Piece, Plot, Table, Text
from curation.errors import StageError
from curation.jobs.models import Run
from curation.jobs.nightly import drift
from curation.jobs.store import History
from curation.presentation import cache
from curation.report.figures import BLUE, VERMILION
from curation.storage import collection, reader, schema
from curation.storage.collection import dataset_of
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

GRID, NEWEST = "grid", "newest"
NAME = "drift"
BINS = 30
_MOST = 5000  # images of either side that are compared; drawn by their ids
_RUNS = 10
_DAY = timedelta(days=1)
_ID_BYTES = 12


def page(dataset: Dataset) -> Page:
    """Return the page of a dataset: the last comparison, and what the jobs found."""
    if not cache.size(dataset):
        return Page.saying(
            "The dataset is empty", f"Ingest images: `curate ingest FOLDER --name {dataset.name}`."
        )
    if dataset.info.get(schema.EMBEDDER_INFO) is None:
        return Page.saying(
            "The samples are not embedded yet",
            f"Run `curate embed {dataset.name}`: images are compared by their embeddings.",
        )
    found = cache.read(dataset, NAME)
    return Page.of(
        *_measured(found),
        Buttons(
            "measuring",
            (
                Button("measure", "Compare the newest day", "today",
                       {"which": NEWEST}, main=found is None),
                Button("measure", "Compare what the grid shows", "grid_view",
                       {"which": GRID}),
            ),
        ),
        _jobs(dataset),
    )  # fmt: skip


def measure(dataset: Dataset, view: DatasetView, which: str) -> str:
    """Compare some samples with the others, keep what came of it, and say it.

    Args:
        dataset: The FiftyOne dataset.
        view: What the grid shows.
        which: `newest`: the samples of the day on which the last one came; `grid`: the view's.

    Raises:
        StageError: One of the two is too small, or has no embeddings.
    """
    new = _of_newest_day(dataset) if which == NEWEST else view
    what = "added on the newest day" if which == NEWEST else "in the grid"
    content = _compare(dataset, set(new.values("id")), what)
    cache.keep(dataset, NAME, lambda _: content)
    return str(content["sentence"])


def of_column(dataset: Dataset, centre: float) -> Any:
    """Return the view of the new samples in a column of the histogram, strangest first."""
    found = cache.read(dataset, NAME)
    if found is None:
        return dataset.limit(0)
    content = found.content
    width = content["top"] / BINS
    distances = np.array(content["distances"], float)
    column = np.minimum((distances / width).astype(int), BINS - 1)
    rows = np.flatnonzero(column == int(float(centre) / width))
    rows = rows[np.argsort(-distances[rows], kind="stable")]
    ids = bytes(content["ids"])
    chosen = [ids[_ID_BYTES * i : _ID_BYTES * (i + 1)].hex() for i in rows]
    return dataset.select(chosen, ordered=True)


def _compare(dataset: Dataset, new: set[str], what: str) -> dict[str, Any]:
    note = dataset.info[schema.EMBEDDER_INFO]
    embedded = VectorTable(Path(note["folder"]), note["fingerprint"]).ids()
    ids, _ = collection.ids_and_paths(dataset)
    drives = reader.read_columns(dataset, [schema.DRIVE])[schema.DRIVE]
    rows = [(one, drive) for one, drive in zip(ids, drives, strict=True) if one in embedded]
    night = _thinned(sorted(one for one, _ in rows if one in new))
    rest = _thinned(sorted((one, drive) for one, drive in rows if one not in new))
    vectors = brain_runs.read_vectors(dataset, [*night, *(one for one, _ in rest)])
    mine, known = vectors[: len(night)], vectors[len(night) :]
    found = drift.measure(mine, known, [drive for _, drive in rest])
    if found is None:
        raise StageError(
            f"{text.counted(len(night), 'embedded image')} {what} and {len(rest):,} others are "
            f"too few to compare: at least {drift.LEAST_NIGHT} and {drift.LEAST_REFERENCE}, of "
            "more than one drive. Show others in the grid, or embed more."
        )
    distances = drift.nearest(mine, known)
    top = max(float(distances.max()), found.usual) * 1.02 or 1.0
    return {
        **asdict(found),
        "sentence": found.sentence,
        "what": what,
        "top": top,
        "distances": [float(one) for one in distances],
        "ids": b"".join(ObjectId(one).binary for one in night),
    }


def _thinned(rows: list[Any]) -> list[Any]:
    return rows[:: max(1, -(-len(rows) // _MOST))]


def _of_newest_day(dataset: Dataset) -> Any:
    _, last = dataset.bounds("created_at")
    day = last.replace(hour=0, minute=0, second=0, microsecond=0)
    return dataset.match({"created_at": {"$gte": day, "$lt": day + _DAY}})


def _measured(found: cache.Kept | None) -> list[Piece]:
    if found is None:
        return [
            Notice(
                "unmeasured",
                "Nothing has been compared here yet",
                "New images are compared with all others. One is far when its nearest known image "
                "is farther than those usually are from each other. More than half far: nothing "
                "like before.",
            )
        ]
    content = found.content
    label = "Nothing like those before" if content["drifted"] else "Like those before"
    return [
        Notice(
            "result", f"{label}: {text.counted(content['night'], 'image')} {content['what']}",
            content["sentence"], "warning" if content["drifted"] else "success",
        ),
        _distances(content),
        Text("age", f"{text.age(found)}"),
    ]  # fmt: skip


def _distances(content: Mapping[str, Any]) -> Plot:
    counts, edges = np.histogram(content["distances"], bins=BINS, range=(0.0, content["top"]))
    centres = (edges[:-1] + edges[1:]) / 2
    usual = content["usual"]
    line = {
        "type": "line", "x0": usual, "x1": usual, "yref": "paper", "y0": 0, "y1": 1,
        "line": {"color": VERMILION, "width": 2, "dash": "dot"},
    }  # fmt: skip
    said = {
        "x": usual, "yref": "paper", "y": 1, "text": "99 % of the known are nearer",
        "showarrow": False, "xanchor": "right" if usual > content["top"] / 2 else "left",
        "xshift": -6 if usual > content["top"] / 2 else 6, "font": {"color": VERMILION},
    }  # fmt: skip
    colours = [VERMILION if one > usual else BLUE for one in centres]
    return plotly_figures.columns(
        "distances", "How far each is from the nearest known image",
        [round(float(one), 6) for one in centres], counts.tolist(),
        x="cosine distance", y="new images", colours=colours, on_click="show_column",
        hint="Click a column to see its images, the strangest first.",
        xaxis={"range": [0, content["top"]]}, shapes=[line], annotations=[said],
    )  # fmt: skip


def _jobs(dataset: Dataset) -> Table | None:
    """Return what the jobs of this dataset found, latest first."""
    history = History(dataset_of(dataset)._sample_collection.database)
    mine = {one.name for one in history.jobs() if one.options.get("dataset") == dataset.name}
    found = [one for one in history.runs(limit=20 * _RUNS) if one.job in mine]
    rows = [row for one in found if (row := _job_row(one))][:_RUNS]
    if not rows:
        return None
    headings = {"when": "due", "job": "job", "state": "state", "said": "drift"}
    return Table("jobs", "What the jobs found", headings, rows)


def _job_row(run: Run) -> dict[str, str] | None:
    measured = run.result.get("drift")
    said = _sentence(measured) if measured else run.reason if run.state == "refused" else ""
    if not said:
        return None
    when = text.ago((datetime.now(UTC) - run.due).total_seconds())
    return {"when": when, "job": run.job, "state": run.state, "said": said}


def _sentence(measured: Mapping[str, Any]) -> str:
    return drift.Drift(**measured).sentence
