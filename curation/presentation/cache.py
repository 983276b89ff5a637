"""Figures of a dataset, counted by the database and cached until a sample changes.

On a small dataset stale figures are recounted on access. On a large one counting takes seconds,
so stages recount when they end, and panels show the age of what they display. The cache is
FiftyOne's execution store of the dataset and is deleted with the dataset.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from curation import formatting
from curation.storage.collection import dataset_of, translate_errors

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.operators.store import ExecutionStore

Count = Callable[["Dataset"], Mapping[str, Any]]

MAX_LIVE_SAMPLES = 10_000  # counting up to this many takes well under a second
_STORE = "curation_figures"
_FORMAT = 1  # raise when the stored content changes its format


@dataclass(frozen=True)
class CachedFigures:
    """Figures and their age.

    Attributes:
        content: The figures.
        counted_at: Start of counting, UTC.
        seconds: Duration of counting.
        stale: Whether samples were added, changed or removed since.
    """

    content: Mapping[str, Any]
    counted_at: datetime
    seconds: float
    stale: bool

    def describe_age(self, *, now: datetime | None = None) -> str:
        """Return the age as Markdown, and whether samples have changed since."""
        age = formatting.time_ago(((now or datetime.now(UTC)) - self.counted_at).total_seconds())
        state = "**samples have changed since**" if self.stale else "up to date"
        return f"Counted {age} (in {self.seconds:.1f} s); {state}."


def get(dataset: Dataset, name: str, count: Count, *, basis: str = "") -> CachedFigures | None:
    """Return figures of a dataset, recounted if they are stale and the dataset is small.

    Args:
        dataset: A FiftyOne dataset.
        name: Key of the figures.
        count: Counts them.
        basis: Further state that the figures depend on; another basis makes them stale.

    Returns:
        None if the dataset is large and has no cached figures; see `update`.
    """
    figures = read(dataset, name, basis=basis)
    if (figures is None or figures.stale) and size(dataset) <= MAX_LIVE_SAMPLES:
        return update(dataset, name, count, basis=basis)
    return figures


def read(dataset: Dataset, name: str, *, basis: str = "") -> CachedFigures | None:
    """Return the cached figures without recounting, or None."""
    entry = _store(dataset).get(name)
    if entry is None or entry["form"] != _FORMAT:
        return None
    return CachedFigures(
        content=entry["content"],
        counted_at=datetime.fromisoformat(entry["at"]),
        seconds=entry["seconds"],
        stale=entry["of"] != _state(dataset, basis),
    )


def update(dataset: Dataset, name: str, count: Count, *, basis: str = "") -> CachedFigures:
    """Count figures, cache them and return them.

    The state is read before counting: a sample that changes meanwhile makes the figures stale.
    """
    state, counted_at, start = _state(dataset, basis), datetime.now(UTC), time.monotonic()
    content = dict(count(dataset))
    seconds = time.monotonic() - start
    entry = {"form": _FORMAT, "at": counted_at.isoformat(), "seconds": seconds, "of": state}
    _store(dataset).set(name, {**entry, "content": content})
    return CachedFigures(content, counted_at, seconds, stale=False)


def size(dataset: Dataset) -> int:
    """Return the number of samples from the collection's metadata, in constant time."""
    with translate_errors():
        return int(dataset_of(dataset)._sample_collection.estimated_document_count())


def aggregate(dataset: Dataset, pipeline: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run an aggregation pipeline over all samples."""
    with translate_errors():
        collection = dataset_of(dataset)._sample_collection
        return list(collection.aggregate(list(pipeline), allowDiskUse=True))


def newest(dataset: Dataset) -> str:
    """Return the time of the last change to a sample, ISO 8601, or "" for an empty dataset."""
    with translate_errors():
        document = dataset_of(dataset)._sample_collection.find_one(
            {}, {"last_modified_at": 1}, sort=[("last_modified_at", -1)]
        )
    modified_at = (document or {}).get("last_modified_at")
    return modified_at.isoformat() if modified_at else ""


def _state(dataset: Dataset, basis: str) -> dict[str, Any]:
    return {"samples": size(dataset), "newest": newest(dataset), "basis": basis}


def _store(dataset: Dataset) -> ExecutionStore:
    from fiftyone.operators.store import ExecutionStore

    return ExecutionStore.create(_STORE, dataset_of(dataset)._doc.id)
