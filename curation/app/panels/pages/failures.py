"""The page about failures against ground truth: slices down, members across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.app.panels import plotly_figures, text
from curation.app.panels.components import Button, Buttons, Choice, Notice, Page, Piece, Plot, Text
from curation.presentation import cache, error_analysis, member_counts, refresh
from curation.presentation.error_analysis import Cell
from curation.storage import queries, schema

if TYPE_CHECKING:
    from fiftyone import Dataset

WHAT, TRUTH = "what", "truth"  # state: which failures; which field is the ground truth
_WHAT = {
    "failed": "missed or saw too much",
    "missed": "missed an object",
    "false": "saw what is not there",
}
_ALL = "all"
_ROW_PX = 36  # two lines
_ROOMY = 9  # members: with more, intervals are said under the mouse only


def page(dataset: Dataset, what: str | None = None, truth: str | None = None) -> Page:
    """Return the page of a dataset.

    Args:
        dataset: The FiftyOne dataset.
        what: `failed`, `missed` or `false`.
        truth: The field of the ground truth, where the user has chosen one.
    """
    fields_of_truth = truth_fields(dataset)
    if not fields_of_truth:
        return Page.saying(
            "There is no ground truth yet",
            "Label a round (`curate label`), or ingest images with their labels: then members "
            "can be compared with it.",
        )
    chosen = truth if truth in fields_of_truth else fields_of_truth[0]
    found = error_analysis.of(dataset)
    compare = _comparing(fields_of_truth, chosen, first=found is None)
    if found is None:
        return Page.of(
            Notice(
                "uncompared",
                "Nobody has been compared with the ground truth yet",
                "Comparing matches every member's boxes with the labels, image by image.",
            ),
            *compare,
        )
    cells, age = found
    asked = what if what in _WHAT else "failed"
    about = queries.read_info(dataset, error_analysis.REMEMBERED) or {}
    return Page.of(
        Text(
            "head",
            f"**{text.counted(about.get('samples', 0), 'sample')}** compared with "
            f"`{about.get('truth', chosen)}`, boxes from probability 0.5 at IoU 0.5. "
            f"{text.age(age)}",
        ),
        Choice(WHAT, "Share of images on which a member", _WHAT, asked, "change"),
        _heat(cells, asked),
        _small(cells),
        *compare,
    )


def truth_fields(dataset: Dataset) -> list[str]:
    """Return the fields of boxes without confidences: ours first, then those of the user.

    Only those that hold a box somewhere.
    """
    import fiftyone as fo

    found = dataset.get_field_schema(
        ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections
    )
    skipped = {schema.CONSENSUS, schema.ORACLE}
    known = member_counts.of(dataset)
    predicting = {one.name for one in known[0].members} if known else set()
    candidates = [one for one in found if one not in skipped | predicting]
    there = [one for one in candidates if _labels(dataset, one)]
    return sorted(there, key=lambda one: (one != schema.GROUND_TRUTH, one))


def judge(dataset: Dataset, truth: str | None) -> str:
    """Compare every member with the ground truth, and say on how many samples."""
    known = truth_fields(dataset)
    n = error_analysis.judge(dataset, truth=truth if truth in known else (known or [""])[0])
    refresh.after_stage(dataset)
    return f"Compared on {text.counted(n, 'sample')}."


def of_cell(dataset: Dataset, row: str, member: str, what: str | None) -> Any:
    """Return the view of the samples of a cell, as the plot names it."""
    missed, false = {error_analysis.MISSED_BY: member}, {error_analysis.FALSE_BY: member}
    failed = {"missed": missed, "false": false}.get(what or "", {"$or": [missed, false]})
    view = dataset.match({error_analysis.COMPARED: member}).match(failed)
    name, _, value = row.rpartition(" (")[0].partition("=")
    return view.match({name: value}) if value else view


def _labels(dataset: Dataset, name: str) -> bool:
    found = cache.aggregate(
        dataset,
        [
            {"$match": {f"{name}.detections.0": {"$exists": True}}},
            {"$limit": 1},
            {"$project": {"_id": 1}},
        ],
    )
    return bool(found)


def _comparing(known: Sequence[str], chosen: str, *, first: bool) -> list[Piece]:
    label = "Compare members with the ground truth"
    pieces: list[Piece] = [
        Buttons("comparing", (Button("judge", label, "rule", main=first),)),
    ]
    if len(known) > 1:
        names = {one: one for one in known}
        pieces.insert(0, Choice(TRUTH, "Ground truth", names, chosen, "change"))
    return pieces


def _heat(cells: Sequence[Cell], what: str) -> Plot:
    shown = [one for one in cells if one.slice == ("", "") or one.n >= error_analysis.LEAST]
    rows = sorted({one.slice for one in shown}, key=lambda one: (one[0] != "", one))
    sizes = {row: max(one.n for one in shown if one.slice == row) for row in rows}
    members = sorted({one.member for one in shown}, key=lambda one: (one == schema.CONSENSUS, one))
    place = {(one.slice, one.member): one for one in shown}
    values = np.full((len(rows), len(members)), np.nan)
    texts = [["" for _ in members] for _ in rows]
    hovers = [["not compared" for _ in members] for _ in rows]
    names = [f"{'='.join(row) if row[0] else _ALL} ({sizes[row]:,})" for row in rows]
    for i, row in enumerate(rows):
        for j, member in enumerate(members):
            if (one := place.get((row, member))) is None:
                continue
            values[i, j], lower, upper = one.share(what)
            said = text.interval(values[i, j], lower, upper)
            texts[i][j] = (
                said.replace(" (", "<br>(") if len(members) <= _ROOMY else said.partition(" (")[0]
            )
            hovers[i][j] = (
                f"{member} on {names[i]}<br>{getattr(one, what):,} of {one.n:,}: {said}<br>"
                f"missed on {one.missed:,}, too much on {one.false:,}"
            )
    return plotly_figures.heat(
        "heat", "Slices and members", names, members, values, texts=texts, hovers=hovers,
        reverse=True, row_px=_ROW_PX, on_click="show_cell",
        hint="In brackets below a share: its 95 % interval; behind a slice: its images. "
        "Click a cell to see them.",
    )  # fmt: skip


def _small(cells: Sequence[Cell]) -> Text | None:
    """Return which slices are too small to say anything."""
    small = sorted({"=".join(one.slice) for one in cells if one.slice[0]} - {
        "=".join(one.slice) for one in cells if one.n >= error_analysis.LEAST
    })  # fmt: skip
    if not small:
        return None
    return Text(
        "small", f"Left out, with fewer than {error_analysis.LEAST} images: {', '.join(small)}."
    )
