"""Counts of each member's predictions, made by the database, for any dataset with predictions.

Two members agree on an object if both detect it. Objects are those of the consensus; without a
consensus an image counts as one object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from curation.presentation import aggregations, cache
from curation.presentation.cache import CachedFigures
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset, Label

NAME = "counts"

Kind = Literal["boxes", "answer", "map"]
_NOT_MEMBERS = (schema.GROUND_TRUTH, schema.ORACLE, schema.CONSENSUS)


@dataclass(frozen=True)
class MemberCounts:
    """Predictions of one member.

    Attributes:
        name: Its field.
        kind: Kind of prediction.
        samples: Number of samples with a prediction.
        boxes: Number of boxes; 0 for members that predict none.
        sure: Number of boxes with a confidence of at least 0.5.
    """

    name: str
    kind: Kind
    samples: int
    boxes: int
    sure: int


@dataclass(frozen=True)
class HardnessComponent:
    """One component of hardness.

    Attributes:
        field: Its field.
        everywhere: Mean over the samples that have a hardness.
        hardest: Mean over the hardest tenth of them.
    """

    field: str
    everywhere: float | None
    hardest: float | None


@dataclass(frozen=True)
class Counts:
    """Counts of one dataset.

    Attributes:
        samples: Number of samples.
        members: Counts of each member.
        paths: Path through the cascade, tiers reached, and number of samples.
        detected_by: Members that detect an object, and number of objects.
        objects: Whether `detected_by` counts objects of the consensus, else images.
        failures: Stage, member and error class, and number of samples.
        components: Components of hardness.
        slices: Field and value, and number of samples.
    """

    samples: int
    members: tuple[MemberCounts, ...]
    paths: tuple[tuple[str | None, tuple[str, ...], int], ...]
    detected_by: tuple[tuple[tuple[str, ...], int], ...]
    objects: bool
    failures: tuple[tuple[str, str, str, int], ...]
    components: tuple[HardnessComponent, ...]
    slices: tuple[tuple[str, str, int], ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Counts:
        """Return the counts from the plain values that `count` returns."""
        return cls(
            samples=content["samples"],
            members=tuple(MemberCounts(**member) for member in content["members"]),
            paths=tuple((path, tuple(tiers), n) for path, tiers, n in content["ways"]),
            detected_by=tuple((tuple(names), n) for names, n in content["found_by"]),
            objects=content["objects"],
            failures=tuple((a, b, c, n) for a, b, c, n in content["failures"]),
            components=tuple(HardnessComponent(**part) for part in content["parts"]),
            slices=tuple((name, value, n) for name, value, n in content["slices"]),
        )

    @property
    def stopped(self) -> dict[str, int]:
        """Number of samples whose last tier is this one, first tier first."""
        counts: Counter[str] = Counter()
        for _, tiers, n in self.paths:
            if tiers:
                counts[tiers[-1]] += n
        return {tier: counts[tier] for tier in self.reached}

    @property
    def reached(self) -> dict[str, int]:
        """Number of samples that reach each tier, first tier first."""
        counts: Counter[str] = Counter()
        position: dict[str, int] = {}
        for _, tiers, n in self.paths:
            for i, tier in enumerate(tiers):
                counts[tier] += n
                position[tier] = max(position.get(tier, 0), i)
        return {tier: counts[tier] for tier in sorted(counts, key=lambda key: (position[key], key))}

    def agreement(self, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the share of each member's objects that each other member detects too.

        Args:
            names: The M members, in the order of rows and columns.

        Returns:
            Shares, shape (M, M), NaN in the rows of members without objects; and the number of
            objects of each row, shape (M,).
        """
        index = {name: i for i, name in enumerate(names)}
        shared = np.zeros((len(names), len(names)), np.int64)
        for members, n in self.detected_by:
            rows = [index[member] for member in members if member in index]
            shared[np.ix_(rows, rows)] += n
        own = shared.diagonal().copy()
        shares = np.full(shared.shape, np.nan)
        np.divide(shared, own[:, None], out=shares, where=own[:, None] > 0)
        return shares, own


def read_counts(dataset: Dataset) -> tuple[Counts, CachedFigures] | None:
    """Return the counts of a dataset and their age; None for a large dataset without any."""
    figures = cache.get(dataset, NAME, count)
    return None if figures is None else (Counts.from_dict(figures.content), figures)


def count(dataset: Dataset) -> dict[str, Any]:
    """Return the counts as plain values; takes some passes over all samples."""
    kinds = member_fields(dataset)
    sums = aggregations.sum_members(dataset, kinds)
    members = [
        MemberCounts(
            name=name,
            kind=kind,
            samples=sum(row[f"ran{i}"] for row in sums),
            boxes=sum(row.get(f"boxes{i}", 0) for row in sums),
            sure=sum(row.get(f"sure{i}", 0) for row in sums),
        )
        for i, (name, kind) in enumerate(kinds.items())
        if kind != "boxes" or aggregations.holds_predictions(sums, i)
    ]
    detectors = [member.name for member in members if member.kind == "boxes"]
    is_fused = schema.CONSENSUS in dataset.get_field_schema()
    return {
        "samples": sum(row["n"] for row in sums),
        "members": [asdict(member) for member in members],
        "ways": aggregations.count_paths(sums),
        "found_by": aggregations.count_objects(dataset)
        if is_fused
        else aggregations.count_images(dataset, detectors),
        "objects": is_fused,
        "failures": aggregations.count_failures(dataset),
        "parts": aggregations.average_components(dataset),
        "slices": aggregations.count_slices(sums),
    }


def member_fields(dataset: Dataset) -> dict[str, Kind]:
    """Return the fields that may hold predictions of members, and their kind."""
    import fiftyone as fo

    def fields_of(label: type[Label]) -> list[str]:
        names = dataset.get_field_schema(ftype=fo.EmbeddedDocumentField, embedded_doc_type=label)
        return [name for name in names if name not in _NOT_MEMBERS]

    kinds: dict[str, Kind] = dict.fromkeys(fields_of(fo.Detections), "boxes")
    kinds |= dict.fromkeys(schema.answer_fields(dataset), "answer")
    return kinds | dict.fromkeys(fields_of(fo.Heatmap), "map")


def hardness_histogram(dataset: Dataset, bins: int) -> list[int]:
    """Return the number of samples with a hardness in each of `bins` equal parts of [0, 1].

    Covered by the index on hardness, if there is one.
    """
    if schema.HARDNESS not in dataset.get_field_schema():
        return [0] * bins
    column = {"$floor": {"$multiply": [f"${schema.HARDNESS}", bins]}}
    rows = cache.aggregate(
        dataset,
        [
            {"$match": {schema.HARDNESS: {"$gte": 0}}},
            {"$project": {"_id": 0, schema.HARDNESS: 1}},
            {"$group": {"_id": {"$min": [column, bins - 1]}, "n": {"$sum": 1}}},
        ],
    )
    counts = {int(row["_id"]): row["n"] for row in rows}
    return [counts.get(i, 0) for i in range(bins)]
