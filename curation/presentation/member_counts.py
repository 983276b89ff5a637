"""What the members of a dataset did: counted by the database, for any dataset with predictions.

Two members agree on an object where both found it. Objects are those of the consensus; where
nothing was fused, an image counts as one object: "is anything there at all?".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from curation.presentation import aggregations, cache
from curation.presentation.cache import Kept
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset

NAME = "counts"

Kind = Literal["boxes", "answer", "map"]
_OURS = (schema.GROUND_TRUTH, schema.ORACLE, schema.CONSENSUS)


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


def of(dataset: Dataset) -> tuple[Counts, Kept] | None:
    """Return the figures of a dataset and their age; None where nobody counted a large one."""
    found = cache.figures(dataset, NAME, count)
    return None if found is None else (Counts.from_dict(found.content), found)


def count(dataset: Dataset) -> dict[str, Any]:
    """Return the figures as plain values; takes some passes over all samples."""
    names = member_fields(dataset)
    totals = aggregations.totals(dataset, names)
    members = [
        Member(
            name=name,
            kind=kind,
            samples=sum(row[f"ran{i}"] for row in totals),
            boxes=sum(row.get(f"boxes{i}", 0) for row in totals),
            sure=sum(row.get(f"sure{i}", 0) for row in totals),
        )
        for i, (name, kind) in enumerate(names.items())
        if kind != "boxes" or aggregations.predicts(totals, i)
    ]
    boxed = [one.name for one in members if one.kind == "boxes"]
    fused = schema.CONSENSUS in dataset.get_field_schema()
    return {
        "samples": sum(row["n"] for row in totals),
        "members": [asdict(one) for one in members],
        "ways": aggregations.ways(totals),
        "found_by": aggregations.objects(dataset) if fused else aggregations.images(dataset, boxed),
        "objects": fused,
        "failures": aggregations.failures(dataset),
        "parts": aggregations.parts(dataset),
        "slices": aggregations.slices(totals),
    }


def member_fields(dataset: Dataset) -> dict[str, Kind]:
    """Return the fields in which members may have written, and what they hold."""
    import fiftyone as fo

    def holding(label: Any) -> list[str]:
        found = dataset.get_field_schema(ftype=fo.EmbeddedDocumentField, embedded_doc_type=label)
        return [name for name in found if name not in _OURS]

    kinds: dict[str, Kind] = dict.fromkeys(holding(fo.Detections), "boxes")
    kinds |= dict.fromkeys(schema.answer_fields(dataset), "answer")
    return kinds | dict.fromkeys(holding(fo.Heatmap), "map")


def histogram(dataset: Dataset, bins: int) -> list[int]:
    """Return how many samples have a hardness in each of so many equal parts of [0, 1].

    By the index on hardness alone, where there is one.
    """
    if schema.HARDNESS not in dataset.get_field_schema():
        return [0] * bins
    part = {"$floor": {"$multiply": [f"${schema.HARDNESS}", bins]}}
    found = cache.aggregate(
        dataset,
        [
            {"$match": {schema.HARDNESS: {"$gte": 0}}},
            {"$project": {"_id": 0, schema.HARDNESS: 1}},
            {"$group": {"_id": {"$min": [part, bins - 1]}, "n": {"$sum": 1}}},
        ],
    )
    counted = {int(row["_id"]): row["n"] for row in found}
    return [counted.get(i, 0) for i in range(bins)]
