"""The aggregation pipelines behind `counts`: each a pass of the database over all samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curation.presentation import cache
from curation.storage import schema as fields

if TYPE_CHECKING:
    from fiftyone import Dataset

SURE = 0.5
HARDEST_SHARE = 0.1
SLICED_BY = (fields.SPLIT, fields.TIME_OF_DAY, fields.WEATHER)


def totals(dataset: Dataset, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row for each way through the cascade and each slice, with sums over members."""
    schema = dataset.get_field_schema()
    keys = [one for one in (fields.PATH, fields.TIERS_REACHED, *SLICED_BY) if one in schema]
    sums: dict[str, Any] = {"n": {"$sum": 1}}
    for i, (name, kind) in enumerate(names.items()):
        sums[f"ran{i}"] = {"$sum": {"$cond": [{"$gt": [f"${name}", None]}, 1, 0]}}
        if kind == "boxes":
            boxes = {"$ifNull": [f"${name}.detections", []]}
            sure = {"$filter": {"input": boxes, "cond": {"$gte": ["$$this.confidence", SURE]}}}
            sums[f"boxes{i}"] = {"$sum": {"$size": boxes}}
            sums[f"sure{i}"] = {"$sum": {"$size": sure}}
            sums[f"most{i}"] = {"$max": {"$max": f"${name}.detections.confidence"}}
    return cache.aggregate(dataset, [{"$group": {"_id": {key: f"${key}" for key in keys}, **sums}}])


def predicts(sums: Sequence[Mapping[str, Any]], i: int) -> bool:
    """Return whether a field of boxes holds predictions: they bear a confidence, labels do not."""
    boxes = sum(row[f"boxes{i}"] for row in sums)
    return not boxes or any(row[f"most{i}"] is not None for row in sums)


def ways(sums: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return path, tiers and number of samples of each way through the cascade."""
    found: Counter[tuple[str | None, tuple[str, ...]]] = Counter()
    for row in sums:
        tiers = row["_id"].get(fields.TIERS_REACHED) or ()
        found[row["_id"].get(fields.PATH), tuple(tiers)] += row["n"]
    return [[path, list(tiers), n] for (path, tiers), n in found.items() if path or tiers]


def slices(sums: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return field, value and number of samples of each slice."""
    found: Counter[tuple[str, str]] = Counter()
    for row in sums:
        for name in SLICED_BY:
            value = row["_id"].get(name)
            if value is not None:
                found[name, str(value)] += row["n"]
    return [[name, value, n] for (name, value), n in sorted(found.items())]


def objects(dataset: Dataset) -> list[list[Any]]:
    """Return by whom the objects of the consensus were found."""
    rows = cache.aggregate(
        dataset,
        [
            {"$project": {"_id": 0, "by": f"${fields.CONSENSUS}.detections.members"}},
            {"$unwind": "$by"},
            {"$group": {"_id": "$by", "n": {"$sum": 1}}},
        ],
    )
    return [[list(row["_id"]), row["n"]] for row in rows if row["_id"]]


def images(dataset: Dataset, names: Sequence[str]) -> list[list[Any]]:
    """Return on how many images which members found anything; all must have looked at it."""
    if not names:
        return []
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {name: {"$ne": None} for name in names}},
            {
                "$group": {
                    "_id": [{"$gt": [{"$size": f"${name}.detections"}, 0]} for name in names],
                    "n": {"$sum": 1},
                }
            },
        ],
    )
    return [
        [[name for name, there in zip(names, row["_id"], strict=True) if there], row["n"]]
        for row in rows
        if any(row["_id"])
    ]


def failures(dataset: Dataset) -> list[list[Any]]:
    """Return stage, member, class of error and number of samples of each kind of failure."""
    if fields.FAILURES not in dataset.get_field_schema():
        return []
    parts = ("stage", "member", "error")
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {f"{fields.FAILURES}.0": {"$exists": True}}},
            {"$unwind": f"${fields.FAILURES}"},
            {
                "$group": {
                    "_id": {one: f"${fields.FAILURES}.{one}" for one in parts},
                    "n": {"$sum": 1},
                }
            },
        ],
    )
    return sorted([[str(row["_id"].get(one) or "") for one in parts] + [row["n"]] for row in rows])


def parts(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the mean of every component, everywhere and among the hardest."""
    schema = dataset.get_field_schema()
    if fields.HARDNESS not in schema:
        return []
    parts = [one for one in fields.HARDNESS_PARTS if one in schema]
    known = {"$match": {fields.HARDNESS: {"$gte": 0}}}
    total = cache.aggregate(dataset, [known, {"$count": "n"}])
    if not total:
        return []
    nth = max(round(HARDEST_SHARE * total[0]["n"]), 1)
    (last,) = cache.aggregate(
        dataset,
        [
            known,
            {"$sort": {fields.HARDNESS: -1}},
            {"$skip": nth - 1},
            {"$limit": 1},
            {"$project": {fields.HARDNESS: 1}},
        ],
    )
    sums: dict[str, Any] = {}
    for i, one in enumerate(parts):
        is_number = {"$isNumber": f"${one}"}
        sums[f"sum{i}"] = {"$sum": f"${one}"}
        sums[f"n{i}"] = {"$sum": {"$cond": [is_number, 1, 0]}}
    is_hard = {"$gte": [f"${fields.HARDNESS}", last[fields.HARDNESS]]}
    rows = cache.aggregate(dataset, [known, {"$group": {"_id": is_hard, **sums}}])
    hard = [row for row in rows if row["_id"]]
    return [
        {"field": one, "everywhere": _mean(rows, i), "hardest": _mean(hard, i)}
        for i, one in enumerate(parts)
    ]


def _mean(rows: Sequence[Mapping[str, Any]], i: int) -> float | None:
    n = sum(row[f"n{i}"] for row in rows)
    return sum(row[f"sum{i}"] for row in rows) / n if n else None
