"""Aggregation pipelines behind `member_counts`, each one pass of the database over all samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curation.presentation import cache
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset

CONFIDENT = 0.5
HARDEST_SHARE = 0.1
SLICE_FIELDS = (schema.SPLIT, schema.TIME_OF_DAY, schema.WEATHER)


def sum_members(dataset: Dataset, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return sums over each member, grouped by path through the cascade and by slice.

    Args:
        dataset: A FiftyOne dataset.
        kinds: Kind of prediction by member field, as of `member_counts.member_fields`.
    """
    present = dataset.get_field_schema()
    keys = [key for key in (schema.PATH, schema.TIERS_REACHED, *SLICE_FIELDS) if key in present]
    sums: dict[str, Any] = {"n": {"$sum": 1}}
    for i, (name, kind) in enumerate(kinds.items()):
        sums[f"ran{i}"] = {"$sum": {"$cond": [{"$gt": [f"${name}", None]}, 1, 0]}}
        if kind == "boxes":
            boxes = {"$ifNull": [f"${name}.detections", []]}
            is_confident = {"$gte": ["$$this.confidence", CONFIDENT]}
            confident = {"$filter": {"input": boxes, "cond": is_confident}}
            sums[f"boxes{i}"] = {"$sum": {"$size": boxes}}
            sums[f"sure{i}"] = {"$sum": {"$size": confident}}
            sums[f"most{i}"] = {"$max": {"$max": f"${name}.detections.confidence"}}
    return cache.aggregate(dataset, [{"$group": {"_id": {key: f"${key}" for key in keys}, **sums}}])


def holds_predictions(sums: Sequence[Mapping[str, Any]], i: int) -> bool:
    """Return whether the boxes of member `i` have confidences, unlike labels."""
    boxes = sum(row[f"boxes{i}"] for row in sums)
    return not boxes or any(row[f"most{i}"] is not None for row in sums)


def count_paths(sums: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return path, tiers and sample count of each path through the cascade."""
    counts: Counter[tuple[str | None, tuple[str, ...]]] = Counter()
    for row in sums:
        tiers = row["_id"].get(schema.TIERS_REACHED) or ()
        counts[row["_id"].get(schema.PATH), tuple(tiers)] += row["n"]
    return [[path, list(tiers), n] for (path, tiers), n in counts.items() if path or tiers]


def count_slices(sums: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return field, value and sample count of each slice."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in sums:
        for name in SLICE_FIELDS:
            value = row["_id"].get(name)
            if value is not None:
                counts[name, str(value)] += row["n"]
    return [[name, value, n] for (name, value), n in sorted(counts.items())]


def count_objects(dataset: Dataset) -> list[list[Any]]:
    """Return the members that support an object of the consensus, and the count of objects."""
    rows = cache.aggregate(
        dataset,
        [
            {"$project": {"_id": 0, "by": f"${schema.CONSENSUS}.detections.members"}},
            {"$unwind": "$by"},
            {"$group": {"_id": "$by", "n": {"$sum": 1}}},
        ],
    )
    return [[list(row["_id"]), row["n"]] for row in rows if row["_id"]]


def count_images(dataset: Dataset, names: Sequence[str]) -> list[list[Any]]:
    """Return the members that detect anything, and the count of images that all have seen."""
    if not names:
        return []
    is_detected = [{"$gt": [{"$size": f"${name}.detections"}, 0]} for name in names]
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {name: {"$ne": None} for name in names}},
            {"$group": {"_id": is_detected, "n": {"$sum": 1}}},
        ],
    )
    return [
        [[name for name, detected in zip(names, row["_id"], strict=True) if detected], row["n"]]
        for row in rows
        if any(row["_id"])
    ]


def count_failures(dataset: Dataset) -> list[list[Any]]:
    """Return stage, member, error class and sample count of each kind of failure."""
    if schema.FAILURES not in dataset.get_field_schema():
        return []
    keys = ("stage", "member", "error")
    kind = {key: f"${schema.FAILURES}.{key}" for key in keys}
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {f"{schema.FAILURES}.0": {"$exists": True}}},
            {"$unwind": f"${schema.FAILURES}"},
            {"$group": {"_id": kind, "n": {"$sum": 1}}},
        ],
    )
    return sorted([[str(row["_id"].get(key) or "") for key in keys] + [row["n"]] for row in rows])


def average_components(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the mean of every hardness component, over all samples and over the hardest."""
    present = dataset.get_field_schema()
    if schema.HARDNESS not in present:
        return []
    names = [name for name in schema.HARDNESS_PARTS if name in present]
    is_scored = {"$match": {schema.HARDNESS: {"$gte": 0}}}
    total = cache.aggregate(dataset, [is_scored, {"$count": "n"}])
    if not total:
        return []
    nth = max(round(HARDEST_SHARE * total[0]["n"]), 1)
    (last,) = cache.aggregate(
        dataset,
        [
            is_scored,
            {"$sort": {schema.HARDNESS: -1}},
            {"$skip": nth - 1},
            {"$limit": 1},
            {"$project": {schema.HARDNESS: 1}},
        ],
    )
    sums: dict[str, Any] = {}
    for i, name in enumerate(names):
        sums[f"sum{i}"] = {"$sum": f"${name}"}
        sums[f"n{i}"] = {"$sum": {"$cond": [{"$isNumber": f"${name}"}, 1, 0]}}
    is_hard = {"$gte": [f"${schema.HARDNESS}", last[schema.HARDNESS]]}
    rows = cache.aggregate(dataset, [is_scored, {"$group": {"_id": is_hard, **sums}}])
    hard = [row for row in rows if row["_id"]]
    return [
        {"field": name, "everywhere": _mean(rows, i), "hardest": _mean(hard, i)}
        for i, name in enumerate(names)
    ]


def _mean(rows: Sequence[Mapping[str, Any]], i: int) -> float | None:
    n = sum(row[f"n{i}"] for row in rows)
    return sum(row[f"sum{i}"] for row in rows) / n if n else None
