"""What the members of a dataset did: counted by the database, for any dataset with predictions.

Two members agree on an object where both found it. Objects are those of the consensus; where
nothing was fused, an image counts as one object: "is anything there at all?".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curation import fields
from curation.summary import kept
from curation.summary.kept import Kept

SURE = 0.5
HARDEST_SHARE = 0.1
NAME = "counts"

Kind = Literal["boxes", "answer", "map"]
_OURS = (fields.GROUND_TRUTH, fields.ORACLE, fields.CONSENSUS)
SLICED_BY = (fields.SPLIT, fields.TIME_OF_DAY, fields.WEATHER)


@dataclass(frozen=True)
class Member:
    """What one member left in the dataset.

    Attributes:
        name: Its field.
        kind: What it gives.
        samples: That it looked at.
        boxes: That it found; 0 where it gives none.
        sure: Those of them with a confidence of at least 0.5.
    """

    name: str
    kind: Kind
    samples: int
    boxes: int
    sure: int


@dataclass(frozen=True)
class Part:
    """One component of hardness.

    Attributes:
        field: Its field.
        everywhere: Its mean over the samples that have a hardness.
        hardest: Its mean over the hardest tenth of them.
    """

    field: str
    everywhere: float | None
    hardest: float | None


@dataclass(frozen=True)
class Counts:
    """The figures of one dataset.

    Attributes:
        samples: How many it has.
        members: Who looked at them.
        ways: Path of the cascade, tiers that looked, and how many samples went so.
        found_by: The members that found an object, and how many objects were found so.
        objects: Whether `found_by` counts objects of the consensus, else images.
        failures: Stage, member and class of error, and how many samples failed so.
        parts: The components of hardness.
        slices: Field and value, and how many samples have it.
    """

    samples: int
    members: tuple[Member, ...]
    ways: tuple[tuple[str | None, tuple[str, ...], int], ...]
    found_by: tuple[tuple[tuple[str, ...], int], ...]
    objects: bool
    failures: tuple[tuple[str, str, str, int], ...]
    parts: tuple[Part, ...]
    slices: tuple[tuple[str, str, int], ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Counts:
        """Return the figures that `count` returned as plain values."""
        return cls(
            samples=content["samples"],
            members=tuple(Member(**one) for one in content["members"]),
            ways=tuple((path, tuple(tiers), n) for path, tiers, n in content["ways"]),
            found_by=tuple((tuple(names), n) for names, n in content["found_by"]),
            objects=content["objects"],
            failures=tuple((a, b, c, n) for a, b, c, n in content["failures"]),
            parts=tuple(Part(**one) for one in content["parts"]),
            slices=tuple((name, value, n) for name, value, n in content["slices"]),
        )

    @property
    def stopped(self) -> dict[str, int]:
        """How many samples went no further than each tier, first tier first."""
        found: Counter[str] = Counter()
        for _, tiers, n in self.ways:
            if tiers:
                found[tiers[-1]] += n
        return {tier: found[tier] for tier in self.reached}

    @property
    def reached(self) -> dict[str, int]:
        """How many samples each tier looked at, first tier first."""
        found: Counter[str] = Counter()
        place: dict[str, int] = {}
        for _, tiers, n in self.ways:
            for i, tier in enumerate(tiers):
                found[tier] += n
                place[tier] = max(place.get(tier, 0), i)
        return {tier: found[tier] for tier in sorted(found, key=lambda one: (place[one], one))}

    @property
    def paths(self) -> dict[str, int]:
        """How many samples take each path of the cascade."""
        found: Counter[str] = Counter()
        for path, _, n in self.ways:
            if path is not None:
                found[path] += n
        return dict(found)

    def agreement(self, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return which share of a member's objects another one found too, and how many there are.

        Args:
            names: The M members, in the order of rows and columns.

        Returns:
            Shares, shape (M, M), NaN where the row's member found nothing; and the objects of
            each row, shape (M,).
        """
        place = {name: i for i, name in enumerate(names)}
        both = np.zeros((len(names), len(names)), np.int64)
        for found, n in self.found_by:
            rows = [place[one] for one in found if one in place]
            both[np.ix_(rows, rows)] += n
        own = both.diagonal().copy()
        shares = np.full(both.shape, np.nan)
        np.divide(both, own[:, None], out=shares, where=own[:, None] > 0)
        return shares, own


def of(dataset: Any) -> tuple[Counts, Kept] | None:
    """Return the figures of a dataset and their age; None where nobody counted a large one."""
    found = kept.figures(dataset, NAME, count)
    return None if found is None else (Counts.from_dict(found.content), found)


def count(dataset: Any) -> dict[str, Any]:
    """Return the figures as plain values; takes some passes over all samples."""
    names = member_fields(dataset)
    totals = _totals(dataset, names)
    members = [
        Member(
            name=name,
            kind=kind,
            samples=sum(row[f"ran{i}"] for row in totals),
            boxes=sum(row.get(f"boxes{i}", 0) for row in totals),
            sure=sum(row.get(f"sure{i}", 0) for row in totals),
        )
        for i, (name, kind) in enumerate(names.items())
        if kind != "boxes" or _predicts(totals, i)
    ]
    boxed = [one.name for one in members if one.kind == "boxes"]
    fused = fields.CONSENSUS in dataset.get_field_schema()
    return {
        "samples": sum(row["n"] for row in totals),
        "members": [asdict(one) for one in members],
        "ways": _ways(totals),
        "found_by": _objects(dataset) if fused else _images(dataset, boxed),
        "objects": fused,
        "failures": _failures(dataset),
        "parts": _parts(dataset),
        "slices": _slices(totals),
    }


def member_fields(dataset: Any) -> dict[str, Kind]:
    """Return the fields in which members may have written, and what they hold."""
    import fiftyone as fo

    def holding(label: Any) -> list[str]:
        found = dataset.get_field_schema(ftype=fo.EmbeddedDocumentField, embedded_doc_type=label)
        return [name for name in found if name not in _OURS]

    kinds: dict[str, Kind] = dict.fromkeys(holding(fo.Detections), "boxes")
    kinds |= dict.fromkeys(fields.answer_fields(dataset), "answer")
    return kinds | dict.fromkeys(holding(fo.Heatmap), "map")


def histogram(dataset: Any, bins: int) -> list[int]:
    """Return how many samples have a hardness in each of so many equal parts of [0, 1].

    By the index on hardness alone, where there is one.
    """
    if fields.HARDNESS not in dataset.get_field_schema():
        return [0] * bins
    part = {"$floor": {"$multiply": [f"${fields.HARDNESS}", bins]}}
    found = kept.aggregate(
        dataset,
        [
            {"$match": {fields.HARDNESS: {"$gte": 0}}},
            {"$project": {"_id": 0, fields.HARDNESS: 1}},
            {"$group": {"_id": {"$min": [part, bins - 1]}, "n": {"$sum": 1}}},
        ],
    )
    counted = {int(row["_id"]): row["n"] for row in found}
    return [counted.get(i, 0) for i in range(bins)]


def _totals(dataset: Any, names: Mapping[str, Kind]) -> list[dict[str, Any]]:
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
    return kept.aggregate(dataset, [{"$group": {"_id": {key: f"${key}" for key in keys}, **sums}}])


def _predicts(totals: Sequence[Mapping[str, Any]], i: int) -> bool:
    """Return whether a field of boxes holds predictions: they bear a confidence, labels do not."""
    boxes = sum(row[f"boxes{i}"] for row in totals)
    return not boxes or any(row[f"most{i}"] is not None for row in totals)


def _ways(totals: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    found: Counter[tuple[str | None, tuple[str, ...]]] = Counter()
    for row in totals:
        tiers = row["_id"].get(fields.TIERS_REACHED) or ()
        found[row["_id"].get(fields.PATH), tuple(tiers)] += row["n"]
    return [[path, list(tiers), n] for (path, tiers), n in found.items() if path or tiers]


def _slices(totals: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    found: Counter[tuple[str, str]] = Counter()
    for row in totals:
        for name in SLICED_BY:
            value = row["_id"].get(name)
            if value is not None:
                found[name, str(value)] += row["n"]
    return [[name, value, n] for (name, value), n in sorted(found.items())]


def _objects(dataset: Any) -> list[list[Any]]:
    """Return by whom the objects of the consensus were found."""
    rows = kept.aggregate(
        dataset,
        [
            {"$project": {"_id": 0, "by": f"${fields.CONSENSUS}.detections.members"}},
            {"$unwind": "$by"},
            {"$group": {"_id": "$by", "n": {"$sum": 1}}},
        ],
    )
    return [[list(row["_id"]), row["n"]] for row in rows if row["_id"]]


def _images(dataset: Any, names: Sequence[str]) -> list[list[Any]]:
    """Return on how many images which members found anything; all must have looked at it."""
    if not names:
        return []
    rows = kept.aggregate(
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


def _failures(dataset: Any) -> list[list[Any]]:
    if fields.FAILURES not in dataset.get_field_schema():
        return []
    parts = ("stage", "member", "error")
    rows = kept.aggregate(
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


def _parts(dataset: Any) -> list[dict[str, Any]]:
    """Return the mean of every component, everywhere and among the hardest."""
    schema = dataset.get_field_schema()
    if fields.HARDNESS not in schema:
        return []
    parts = [one for one in fields.HARDNESS_PARTS if one in schema]
    known = {"$match": {fields.HARDNESS: {"$gte": 0}}}
    total = kept.aggregate(dataset, [known, {"$count": "n"}])
    if not total:
        return []
    nth = max(round(HARDEST_SHARE * total[0]["n"]), 1)
    (last,) = kept.aggregate(
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
    rows = kept.aggregate(dataset, [known, {"$group": {"_id": is_hard, **sums}}])
    hard = [row for row in rows if row["_id"]]
    return [
        asdict(Part(field=one, everywhere=_mean(rows, i), hardest=_mean(hard, i)))
        for i, one in enumerate(parts)
    ]


def _mean(rows: Sequence[Mapping[str, Any]], i: int) -> float | None:
    n = sum(row[f"n{i}"] for row in rows)
    return sum(row[f"sum{i}"] for row in rows) / n if n else None
