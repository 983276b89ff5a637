"""Errors of each member against ground truth, sample by sample.

Boxes count from probability 0.5 and match at IoU 0.5 within their class, as in `failure_yield`.
Results are lists of member names on the samples: the database counts them by member and slice,
and the App filters by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cascade.geometry import boxes
from cascade.predictions import Detections
from cascade.runtime.progress import Progress
from cascade.taxonomy import Taxonomy
from curation.active_learning.evaluation import slices
from curation.active_learning.evaluation.failure_yield import MIN_IOU, MIN_P, wilson
from curation.errors import StageError
from curation.presentation import cache, member_counts
from curation.presentation.cache import CachedFigures
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

ErrorKind = Literal["failed", "missed", "false"]

COMPARED = "compared"  # members with predictions on a sample with ground truth
MISSED_BY = "missed_by"  # those that missed an object
FALSE_BY = "false_by"  # those with a false positive
FAR_MISSED_BY = "far_missed_by"  # those that missed a far object
OBJECT_SIZE = "object_size"  # of the tallest object: near, mid, far, small or none

FIELDS = (COMPARED, MISSED_BY, FALSE_BY, FAR_MISSED_BY, OBJECT_SIZE)

NAME = "outcomes"  # key of the figures, and of the note about the comparison
FAR = slices.SIZES["mid"]  # relative height below which an object is far
MIN_SAMPLES = slices.MIN_SAMPLES
_LIST_FIELDS = {
    COMPARED: "Members that were compared with the ground truth",
    MISSED_BY: "Members that missed an object",
    FALSE_BY: "Members with a false positive",
    FAR_MISSED_BY: "Members that missed a far object",
}


@dataclass(frozen=True)
class ImageMatch:
    """Boxes of one member, matched with the T objects of one image.

    Attributes:
        matches: Row of the box that matches each object, -1 for none.
        wrong_class: Row of a box of another class on each unmatched object, -1 for none.
        false_positives: Rows of the boxes that match no object.
    """

    matches: tuple[int, ...]
    wrong_class: tuple[int, ...]
    false_positives: tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """Error counts of one member on one slice.

    Attributes:
        slice: Field and value; ("", "") for all images.
        member: Its name.
        n: Number of compared images.
        missed: Number of images with a missed object.
        false: Number of images with a false positive.
        failed: Number of images with either.
    """

    slice: tuple[str, str]
    member: str
    n: int
    missed: int
    false: int
    failed: int

    def share(self, kind: ErrorKind) -> tuple[float, float, float]:
        """Return the share of images with an error of this kind, and its 95% interval."""
        failures = getattr(self, kind)
        return (failures / self.n if self.n else float("nan"), *wilson(failures, self.n))


def match_image(truth: Detections, predicted: Detections) -> ImageMatch:
    """Match the boxes of a member with the objects of an image.

    Args:
        truth: The objects.
        predicted: Boxes in the same classes; those below `MIN_P` are ignored.
    """
    rows = np.flatnonzero(predicted.scores >= MIN_P)
    rows = rows[np.argsort(-predicted.scores[rows], kind="stable")]  # most confident match first
    overlaps = boxes.iou(predicted.boxes_xyxy[rows], truth.boxes_xyxy)
    same = np.array(predicted.labels, str)[rows][:, None] == np.array(truth.labels, str)[None, :]
    matched = boxes.match(np.where(same, overlaps, 0.0), least=MIN_IOU)
    matches = np.full(len(truth), -1, np.int64)
    matches[matched[matched >= 0]] = rows[matched >= 0]
    return ImageMatch(
        matches=tuple(matches.tolist()),
        wrong_class=tuple(_wrong_class(overlaps, matched, matches, rows)),
        false_positives=tuple(rows[matched < 0].tolist()),
    )


def compare(
    dataset: Dataset, *, truth: str = schema.GROUND_TRUTH, progress: Progress | None = None
) -> int:
    """Compare every member with the ground truth, and write the errors to the samples.

    Args:
        dataset: A FiftyOne dataset.
        truth: Field of the ground truth.
        progress: Called after every thousand samples.

    Returns:
        The number of samples with ground truth.

    Raises:
        StageError: The dataset has no ground truth, or no member with boxes.
        StoreError: The field does not exist, or holds no boxes.
    """
    reader.require_detections(dataset, [truth])
    labeled = dataset.exists(truth)
    ids, _ = collection.ids_and_paths(labeled)
    members = _compared_members(dataset, truth)
    if not ids or not members:
        lacking = "sample has ground truth" if not ids else "member has predicted boxes"
        raise StageError(f"No {lacking} in {dataset.name!r}, so there is nothing to compare.")
    taxonomy = queries.taxonomy_of(dataset) or queries.taxonomy_from_fields(
        labeled, [truth, *members]
    )
    _declare_fields(dataset)
    done = 0
    for chunk in collection.chunks(ids):
        part = dataset.select(list(chunk))
        collection.write_documents(dataset, _compare_samples(part, truth, members, taxonomy))
        done += len(chunk)
        if progress:
            progress(done, len(ids))
    note = {"truth": truth, "samples": len(ids), "newest": cache.newest(dataset)}
    queries.write_info(dataset, NAME, {**note, "at": datetime.now(UTC).isoformat()})
    cache.update(dataset, NAME, _count_slices)
    return len(ids)


def read_cells(dataset: Dataset) -> tuple[list[Cell], CachedFigures] | None:
    """Return the error counts and the age of the comparison; None before any `compare`."""
    note = queries.read_info(dataset, NAME)
    if note is None or COMPARED not in dataset.get_field_schema():
        return None
    figures = cache.get(dataset, NAME, _count_slices)
    if figures is None:
        return None
    comparison = replace(
        figures,
        counted_at=datetime.fromisoformat(note["at"]),
        stale=note["newest"] != cache.newest(dataset),
    )
    rows = figures.content["cells"]
    return [Cell(**{**row, "slice": tuple(row["slice"])}) for row in rows], comparison


def count_errors(dataset: Dataset, fields: Sequence[str]) -> dict[str, Any]:
    """Return the error counts by member and slice as plain values.

    Args:
        dataset: A FiftyOne dataset.
        fields: Fields whose values define the slices.
    """
    member = f"${COMPARED}"
    missed = {"$in": [member, {"$ifNull": [f"${MISSED_BY}", []]}]}
    false = {"$in": [member, {"$ifNull": [f"${FALSE_BY}", []]}]}
    conditions = {"missed": missed, "false": false, "failed": {"$or": [missed, false]}}
    counts = {name: {"$sum": {"$cond": [test, 1, 0]}} for name, test in conditions.items()}
    key = {"member": member, **{field: f"${field}" for field in fields}}
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {f"{COMPARED}.0": {"$exists": True}}},
            {"$unwind": member},
            {"$group": {"_id": key, "n": {"$sum": 1}, **counts}},
        ],
    )
    return {"cells": _sum_over_slices(rows, fields)}


def _count_slices(dataset: Dataset) -> dict[str, Any]:
    candidates = (OBJECT_SIZE, schema.TIME_OF_DAY, schema.WEATHER, schema.SPLIT)
    present = dataset.get_field_schema()
    return count_errors(dataset, [field for field in candidates if field in present])


def _sum_over_slices(
    rows: Sequence[Mapping[str, Any]], fields: Sequence[str]
) -> list[dict[str, Any]]:
    """Sum the counts of combinations of slices over all images and over each slice."""
    counts = ("n", "missed", "false", "failed")
    cells: dict[tuple[str, str, str], dict[str, int]] = {}
    for row in rows:
        key = row["_id"]
        values = [(field, str(key[field])) for field in fields if key.get(field) is not None]
        for field, value in [("", ""), *values]:
            cell = cells.setdefault((field, value, key["member"]), dict.fromkeys(counts, 0))
            for name in counts:
                cell[name] += row[name]
    return [
        {"slice": [field, value], "member": member, **cell}
        for (field, value, member), cell in sorted(cells.items())
    ]


def _compare_samples(
    view: DatasetView, truth: str, members: Sequence[str], taxonomy: Taxonomy
) -> dict[str, dict[str, Any]]:
    """Return the values to write, by sample id."""
    ids, _ = collection.ids_and_paths(view)
    truths = reader.read_detections(view, truth, taxonomy)
    predicted = {
        name: reader.read_detections(view, name, taxonomy, absent="empty") for name in members
    }
    documents = collection.read_documents(view, ids, {f"{name}._cls": 1 for name in members})
    return {
        ids[i]: _sample_values(
            truths[i],
            {name: predicted[name][i] for name in members if document.get(name) is not None},
        )
        for i, document in documents
    }


def _sample_values(truth: Detections, predicted: Mapping[str, Detections]) -> dict[str, Any]:
    heights = truth.boxes_xyxy[:, 3] - truth.boxes_xyxy[:, 1]
    matches = {name: match_image(truth, detections) for name, detections in predicted.items()}
    missed = {name: np.array(match.matches, int) < 0 for name, match in matches.items()}
    return {
        COMPARED: list(predicted),
        MISSED_BY: [name for name, mask in missed.items() if mask.any()],
        FALSE_BY: [name for name, match in matches.items() if match.false_positives],
        FAR_MISSED_BY: [name for name, mask in missed.items() if (mask & (heights < FAR)).any()],
        OBJECT_SIZE: _size_class(heights),
    }


def _size_class(heights: NDArray[np.floating[Any]]) -> str:
    if not len(heights):
        return "none"
    masks = slices.size_masks(np.array([heights.max()]))
    return next(name for name, mask in masks.items() if mask[0])


def _wrong_class(
    overlaps: NDArray[np.floating[Any]],
    matched: NDArray[np.integer[Any]],
    matches: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> list[int]:
    """Return the free box with the best overlap for each object, of any class; -1 for none."""
    free = np.where((matched < 0)[:, None], overlaps, 0.0)
    wrong = np.full(len(matches), -1, np.int64)
    if len(rows):
        best = free.argmax(axis=0)
        covers = (free.max(axis=0) >= MIN_IOU) & (matches < 0)
        wrong[covers] = rows[best[covers]]
    return [int(row) for row in wrong]


def _compared_members(dataset: Dataset, truth: str) -> list[str]:
    """Return all members that predict boxes, and the consensus."""
    counts = member_counts.read_counts(dataset)
    members = [
        member.name
        for member in (counts[0].members if counts else ())
        if member.kind == "boxes" and member.samples and member.name != truth
    ]
    is_fused = schema.CONSENSUS in dataset.get_field_schema()
    return [*members, schema.CONSENSUS] if is_fused else members


def _declare_fields(dataset: Dataset) -> None:
    import fiftyone as fo

    for name, description in _LIST_FIELDS.items():
        if dataset.get_field(name) is None:
            dataset.add_sample_field(
                name, fo.ListField, subfield=fo.StringField, description=description
            )
    if dataset.get_field(OBJECT_SIZE) is None:
        dataset.add_sample_field(
            OBJECT_SIZE, fo.StringField, description="Size of the tallest object"
        )
    if COMPARED not in dataset.list_indexes():
        dataset.create_index(COMPARED)  # few samples have ground truth; clicks query for these
