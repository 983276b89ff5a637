"""Which member missed what, and which saw what is not there: against ground truth, by sample.

Boxes count from probability 0.5 and match at IoU 0.5 within their class, as in `failure_yield`.
What is written are lists of member names, so that the database counts by member and slice, and
the App filters by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cascade.geometry import boxes
from cascade.predictions import Detections
from cascade.runtime.progress import Progress
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation import slices
from curation.active_learning.evaluation.failure_yield import LEAST_IOU, LEAST_P, wilson
from curation.errors import StageError
from curation.presentation import cache, member_counts
from curation.presentation.cache import Kept
from curation.storage import collection, queries, reader
from curation.storage import schema as fields
from curation.storage.collection import chunks, read_documents

if TYPE_CHECKING:
    from fiftyone import Dataset

COMPARED = "compared"  # the members that looked at a sample with ground truth
MISSED_BY = "missed_by"  # those of them that missed an object
FALSE_BY = "false_by"  # those of them that saw what is not there
FAR_MISSED_BY = "far_missed_by"  # those of them that missed an object that is far away
OBJECT_SIZE = "object_size"  # of the tallest object: near, mid, far, small or none

WRITTEN = (COMPARED, MISSED_BY, FALSE_BY, FAR_MISSED_BY, OBJECT_SIZE)

NAME = "outcomes"
REMEMBERED = "outcomes"
FAR = slices.SIZES["mid"]  # relative height: below, an object is far away
LEAST = slices.LEAST
_LISTS = {
    COMPARED: "Members that were compared with the ground truth",
    MISSED_BY: "Members that missed an object",
    FALSE_BY: "Members that saw what is not there",
    FAR_MISSED_BY: "Members that missed an object far away",
}


@dataclass(frozen=True)
class Outcome:
    """What one member made of one image.

    Attributes:
        found_by: For each of the T objects, the row of the box that matches it, -1 for none.
        miscalled: For each object without a match, the row of a box of another class on it.
        false: Rows of the boxes that match no object.
    """

    found_by: tuple[int, ...]
    miscalled: tuple[int, ...]
    false: tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """How often a member failed on the images of a slice.

    Attributes:
        slice: Field and value; ("", "") for all.
        member: Its name.
        n: Images that it was compared on.
        missed: Those on which it missed an object.
        false: Those on which it saw what is not there.
        failed: Those with either.
    """

    slice: tuple[str, str]
    member: str
    n: int
    missed: int
    false: int
    failed: int

    def share(self, what: str) -> tuple[float, float, float]:
        """Return the share of images with `missed`, `false` or `failed`, and its interval."""
        failures = getattr(self, what)
        return (failures / self.n if self.n else float("nan"), *wilson(failures, self.n))


def of_image(truth: Detections, found: Detections) -> Outcome:
    """Return what a member made of one image.

    Args:
        truth: The objects.
        found: Its boxes, in the same classes; those that are not sure do not count.
    """
    rows = np.flatnonzero(found.scores >= LEAST_P)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]  # the surest chooses first
    overlaps = boxes.iou(found.boxes_xyxy[rows], truth.boxes_xyxy)
    same = np.array(found.labels, str)[rows][:, None] == np.array(truth.labels, str)[None, :]
    matched = boxes.match(np.where(same, overlaps, 0.0), least=LEAST_IOU)
    found_by = np.full(len(truth), -1, np.int64)
    found_by[matched[matched >= 0]] = rows[matched >= 0]
    return Outcome(
        found_by=tuple(found_by.tolist()),
        miscalled=tuple(_miscalled(overlaps, matched, found_by, rows)),
        false=tuple(rows[matched < 0].tolist()),
    )


def judge(
    dataset: Dataset, *, truth: str = fields.GROUND_TRUTH, progress: Progress | None = None
) -> int:
    """Write who failed on every sample with ground truth; return how many samples that are.

    Args:
        dataset: The FiftyOne dataset.
        truth: The field of the ground truth.
        progress: Told after every thousand samples.

    Raises:
        StageError: There is no ground truth, or no member to compare with it.
        StoreError: The field does not exist, or holds no boxes.
    """
    reader.require_detections(dataset, [truth])
    labeled = dataset.exists(truth)
    ids, _ = collection.ids_and_paths(labeled)
    members = _members(dataset, without=truth)
    if not ids or not members:
        lacking = "sample has ground truth" if not ids else "member has predicted boxes"
        raise StageError(f"No {lacking} in {dataset.name!r}, so there is nothing to compare.")
    taxonomy = queries.taxonomy_of(dataset) or queries.own_taxonomy(labeled, [truth, *members])
    _declare(dataset)
    done = 0
    for chunk in chunks(ids):
        part = dataset.select(list(chunk))
        collection.write_documents(dataset, _compare(part, truth, members, taxonomy))
        done += len(chunk)
        if progress:
            progress(done, len(ids))
    about = {"truth": truth, "samples": len(ids), "newest": cache.newest(dataset)}
    queries.remember(dataset, REMEMBERED, {**about, "at": datetime.now(UTC).isoformat()})
    cache.keep(dataset, NAME, _count_slices)
    return len(ids)


def of(dataset: Dataset) -> tuple[list[Cell], Kept] | None:
    """Return the figures and how old the comparison is; None where `judge` did not run."""
    about = queries.remembered(dataset, REMEMBERED)
    if about is None or COMPARED not in dataset.get_field_schema():
        return None
    found = cache.figures(dataset, NAME, _count_slices)
    if found is None:
        return None
    rows = found.content["cells"]
    compared = replace(
        found,
        at=datetime.fromisoformat(about["at"]),
        stale=about["newest"] != cache.newest(dataset),
    )
    return [Cell(**{**row, "slice": tuple(row["slice"])}) for row in rows], compared


def count(dataset: Dataset, by: Sequence[str]) -> dict[str, Any]:
    """Return the figures by member and slice as plain values.

    Args:
        dataset: The FiftyOne dataset.
        by: The fields whose values are slices.
    """
    member = f"${COMPARED}"
    missed = {"$in": [member, {"$ifNull": [f"${MISSED_BY}", []]}]}
    false = {"$in": [member, {"$ifNull": [f"${FALSE_BY}", []]}]}

    def share(condition: Any) -> dict[str, Any]:
        return {"$sum": {"$cond": [condition, 1, 0]}}

    rows = cache.aggregate(
        dataset,
        [
            {"$match": {f"{COMPARED}.0": {"$exists": True}}},
            {"$unwind": member},
            {
                "$group": {
                    "_id": {"member": member, **{one: f"${one}" for one in by}},
                    "n": {"$sum": 1},
                    "missed": share(missed),
                    "false": share(false),
                    "failed": share({"$or": [missed, false]}),
                }
            },
        ],
    )
    return {"cells": _cells(rows, by)}


def _count_slices(dataset: Dataset) -> dict[str, Any]:
    return count(dataset, sliced_by(dataset))


def sliced_by(dataset: Dataset) -> list[str]:
    """Return the fields whose values are slices, where the dataset has them."""
    schema = dataset.get_field_schema()
    wanted = (OBJECT_SIZE, fields.TIME_OF_DAY, fields.WEATHER, fields.SPLIT)
    return [one for one in wanted if one in schema]


def _cells(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    """Return the sums over all and over each slice, from those over combinations of slices."""
    figures = ("n", "missed", "false", "failed")
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for row in rows:
        names = [("", "")] + [
            (one, str(row["_id"][one])) for one in by if row["_id"].get(one) is not None
        ]
        for name, value in names:
            cell = found.setdefault((name, value, row["_id"]["member"]), dict.fromkeys(figures, 0))
            for figure in figures:
                cell[figure] += row[figure]
    return [
        {"slice": [name, value], "member": member, **cell}
        for (name, value, member), cell in sorted(found.items())
    ]


def _compare(
    part: Any, truth: str, members: Sequence[str], taxonomy: Taxonomy
) -> dict[str, dict[str, Any]]:
    ids, _ = collection.ids_and_paths(part)
    truths = reader.read_detections(part, truth, taxonomy)
    found = {one: reader.read_detections(part, one, taxonomy, absent="empty") for one in members}
    looked = read_documents(part, ids, {f"{one}._cls": 1 for one in members})
    return {
        ids[i]: _outcomes(truths[i], {m: found[m][i] for m in members if row.get(m) is not None})
        for i, row in looked
    }


def _outcomes(truth: Detections, found: Mapping[str, Detections]) -> dict[str, Any]:
    """Return what is written to one sample."""
    heights = truth.boxes_xyxy[:, 3] - truth.boxes_xyxy[:, 1]
    outcomes = {name: of_image(truth, one) for name, one in found.items()}
    missed = {name: np.array(one.found_by, int) < 0 for name, one in outcomes.items()}
    return {
        COMPARED: list(found),
        MISSED_BY: [name for name, one in missed.items() if one.any()],
        FALSE_BY: [name for name, one in outcomes.items() if one.false],
        FAR_MISSED_BY: [name for name, one in missed.items() if (one & (heights < FAR)).any()],
        OBJECT_SIZE: _size(heights),
    }


def _size(heights: NDArray[Any]) -> str:
    if not len(heights):
        return "none"
    masks = slices.by_size(np.array([heights.max()]))
    return next(name for name, mask in masks.items() if mask[0])


def _miscalled(
    overlaps: NDArray[Any], matched: NDArray[Any], found_by: NDArray[Any], rows: NDArray[Any]
) -> list[int]:
    """Return for each object the free box that covers it best, whatever its class; -1 for none."""
    free = np.where((matched < 0)[:, None], overlaps, 0.0)
    chosen = np.full(len(found_by), -1, np.int64)
    if len(rows):
        best = free.argmax(axis=0)
        covers = (free.max(axis=0) >= LEAST_IOU) & (found_by < 0)
        chosen[covers] = rows[best[covers]]
    return [int(one) for one in chosen]


def _members(dataset: Dataset, *, without: str) -> list[str]:
    """Return who is compared: all that predict boxes, and the ensemble as a whole."""
    found = member_counts.of(dataset)
    named = found[0].members if found else ()
    members = [one.name for one in named if one.kind == "boxes" and one.samples]
    schema = dataset.get_field_schema()
    ensemble = [fields.CONSENSUS] if fields.CONSENSUS in schema else []
    return [one for one in members if one != without] + ensemble


def _declare(dataset: Dataset) -> None:
    import fiftyone as fo

    for name, what in _LISTS.items():
        if dataset.get_field(name) is None:
            dataset.add_sample_field(name, fo.ListField, subfield=fo.StringField, description=what)
    if dataset.get_field(OBJECT_SIZE) is None:
        dataset.add_sample_field(
            OBJECT_SIZE, fo.StringField, description="Size of the tallest object"
        )
    if COMPARED not in dataset.list_indexes():
        dataset.create_index(COMPARED)  # few samples have ground truth; clicks look for these
