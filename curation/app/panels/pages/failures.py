"""Page of the failures panel: errors against ground truth, by slice and member."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, get_args

import numpy as np

from curation import formatting
from curation.app.panels import plotly_figures
from curation.app.panels.components import (
    Button,
    Buttons,
    Choice,
    Component,
    Notice,
    Page,
    Plot,
    Text,
)
from curation.presentation import cache, error_analysis, member_counts, refresh
from curation.presentation.error_analysis import Cell, ErrorKind
from curation.storage import queries, schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

KIND, TRUTH = "what", "truth"  # state: kind of error; field of the ground truth
_KINDS = {
    "failed": "has any error",
    "missed": "misses an object",
    "false": "has a false positive",
}
_ALL = "all"
_ROW_PX = 36  # two lines
_MAX_WIDE = 9  # with more members, intervals are shown in tooltips only


def build_page(dataset: Dataset, kind: str | None = None, truth: str | None = None) -> Page:
    """Return the page of a dataset.

    Args:
        dataset: A FiftyOne dataset.
        kind: `failed`, `missed` or `false`.
        truth: Field of the ground truth, if the user has selected one.
    """
    fields = truth_fields(dataset)
    if not fields:
        return Page.message(
            "No ground truth yet",
            "Label a round (`curate label`), or ingest images with labels, to compare the members "
            "with them.",
        )
    selected = truth if truth in fields else fields[0]
    entry = error_analysis.read_cells(dataset)
    controls = _controls(fields, selected, primary=entry is None)
    if entry is None:
        return Page.of(
            Notice(
                "uncompared",
                "No member has been compared with the ground truth yet",
                "An evaluation compares them, or the button below: the boxes of every member are "
                "matched with the labels, image by image.",
            ),
            *controls,
        )
    cells, comparison = entry
    error_kind = _error_kind(kind)
    note = queries.read_info(dataset, error_analysis.NAME) or {}
    samples = formatting.quantity(note.get("samples", 0), "sample")
    return Page.of(
        Text(
            "head",
            f"**{samples}** compared with `{note.get('truth', selected)}`, boxes from probability "
            f"0.5 at IoU 0.5. {comparison.describe_age()}",
        ),
        Choice(KIND, "Share of images on which a member", _KINDS, error_kind, "change"),
        _heatmap(cells, error_kind),
        _small_slices(cells),
        *controls,
    )


def truth_fields(dataset: Dataset) -> list[str]:
    """Return the fields with boxes without confidences: `ground_truth` first, then others."""
    import fiftyone as fo

    names = dataset.get_field_schema(
        ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections
    )
    counts = member_counts.read_counts(dataset)
    members = {member.name for member in counts[0].members} if counts else set()
    candidates = set(names) - members - {schema.CONSENSUS, schema.ORACLE}
    fields = [name for name in candidates if _has_boxes(dataset, name)]
    return sorted(fields, key=lambda name: (name != schema.GROUND_TRUTH, name))


def compare(dataset: Dataset, truth: str | None) -> str:
    """Compare every member with the ground truth, and return a message."""
    fields = truth_fields(dataset)
    n = error_analysis.compare(dataset, truth=truth if truth in fields else (fields or [""])[0])
    refresh.after_stage(dataset)
    return f"Compared on {formatting.quantity(n, 'sample')}."


def cell_view(dataset: Dataset, row: str, member: str, kind: str | None) -> DatasetView:
    """Return the samples of a cell, given its row's label in the plot."""
    missed, false = {error_analysis.MISSED_BY: member}, {error_analysis.FALSE_BY: member}
    any_error = {"$or": [missed, false]}
    condition = {"failed": any_error, "missed": missed, "false": false}[_error_kind(kind)]
    view = dataset.match({error_analysis.COMPARED: member}).match(condition)
    name, _, value = row.rpartition(" (")[0].partition("=")
    return view.match({name: value}) if value else view


def _error_kind(kind: str | None) -> ErrorKind:
    return cast(ErrorKind, kind) if kind in get_args(ErrorKind) else "failed"


def _has_boxes(dataset: Dataset, field: str) -> bool:
    documents = cache.aggregate(
        dataset,
        [
            {"$match": {f"{field}.detections.0": {"$exists": True}}},
            {"$limit": 1},
            {"$project": {"_id": 1}},
        ],
    )
    return bool(documents)


def _controls(fields: Sequence[str], selected: str, *, primary: bool) -> list[Component]:
    compare_button = Button(
        "compare", "Compare members with the ground truth", "rule", primary=primary
    )
    buttons = Buttons("comparing", (compare_button,))
    if len(fields) == 1:
        return [buttons]
    options = {name: name for name in fields}
    return [Choice(TRUTH, "Ground truth", options, selected, "change"), buttons]


def _heatmap(cells: Sequence[Cell], kind: ErrorKind) -> Plot:
    shown = [
        cell for cell in cells if cell.slice == ("", "") or cell.n >= error_analysis.MIN_SAMPLES
    ]
    rows = sorted({cell.slice for cell in shown}, key=lambda key: (key[0] != "", key))
    members = sorted({cell.member for cell in shown}, key=lambda m: (m == schema.CONSENSUS, m))
    sizes = {row: max(cell.n for cell in shown if cell.slice == row) for row in rows}
    names = [f"{'='.join(row) if row[0] else _ALL} ({sizes[row]:,})" for row in rows]
    values = np.full((len(rows), len(members)), np.nan)
    texts = [["" for _ in members] for _ in rows]
    hovers = [["not compared" for _ in members] for _ in rows]
    for cell in shown:
        i, j = rows.index(cell.slice), members.index(cell.member)
        values[i, j], lower, upper = cell.share(kind)
        text = formatting.percent_interval(values[i, j], lower, upper)
        texts[i][j] = (
            text.replace(" (", "<br>(") if len(members) <= _MAX_WIDE else text.partition(" (")[0]
        )
        hovers[i][j] = (
            f"{cell.member} on {names[i]}<br>{getattr(cell, kind):,} of {cell.n:,}: {text}<br>"
            f"missed objects on {cell.missed:,}, false positives on {cell.false:,}"
        )
    return plotly_figures.heatmap(
        "heat", "Slices and members", names, members, values, texts=texts, hovers=hovers,
        reverse=True, row_px=_ROW_PX, on_click="show_cell",
        hint="Share of images with its 95% interval; the number after a slice counts its images. "
        "Click a cell to see them.",
    )  # fmt: skip


def _small_slices(cells: Sequence[Cell]) -> Text | None:
    """Return a note on the slices that are too small for a cell."""
    minimum = error_analysis.MIN_SAMPLES
    large = {cell.slice for cell in cells if cell.n >= minimum}
    small = sorted("=".join(key) for key in {cell.slice for cell in cells} - large if key[0])
    if not small:
        return None
    return Text("small", f"Left out, with fewer than {minimum} images: {', '.join(small)}.")
