"""Figures that are kept with a dataset, and are as good as new as long as no sample changes.

On a small dataset they are counted whenever they are out of date. On a large one that takes
seconds, so stages count them when they end, and whoever shows them says how old they are. They
lie in FiftyOne's own store of the dataset, and go when the dataset goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from curation.storage.collection import answering, dataset_of

if TYPE_CHECKING:
    from fiftyone import Dataset

Count = Callable[[Any], Mapping[str, Any]]

LIVE = 10_000  # samples: up to here counting takes well under a second
_STORE = "curation_figures"
_FORM = 1  # raised when what is kept changes its form


@dataclass(frozen=True)
class Kept:
    """Figures, and how old they are.

    Attributes:
        content: The figures.
        at: When counting them began, UTC.
        seconds: What counting took.
        stale: Whether samples were added, changed or removed since.
    """

    content: Mapping[str, Any]
    at: datetime
    seconds: float
    stale: bool


def figures(dataset: Dataset, name: str, count: Count, *, basis: str = "") -> Kept | None:
    """Return figures of a dataset: counted now where it is small, else those that are kept.

    Args:
        dataset: The FiftyOne dataset.
        name: What the figures are called.
        count: Counts them.
        basis: What they rest on beside the samples; another basis makes them stale.

    Returns:
        None where the dataset is large and nothing was kept yet: see `keep`.
    """
    found = read(dataset, name, basis=basis)
    if (found is None or found.stale) and size(dataset) <= LIVE:
        return keep(dataset, name, count, basis=basis)
    return found


def read(dataset: Dataset, name: str, *, basis: str = "") -> Kept | None:
    """Return the figures that are kept, None where there are none."""
    found = _store(dataset).get(name)
    if found is None or found["form"] != _FORM:
        return None
    return Kept(
        content=found["content"],
        at=datetime.fromisoformat(found["at"]),
        seconds=found["seconds"],
        stale=found["of"] != _state(dataset, basis),
    )


def keep(dataset: Dataset, name: str, count: Count, *, basis: str = "") -> Kept:
    """Count figures, keep them with the dataset, and return them.

    A sample that changes meanwhile makes them stale at once.
    """
    of, at, began = _state(dataset, basis), datetime.now(UTC), time.monotonic()
    content = dict(count(dataset))
    seconds = time.monotonic() - began
    _store(dataset).set(
        name,
        {"form": _FORM, "at": at.isoformat(), "seconds": seconds, "of": of, "content": content},
    )
    return Kept(content=content, at=at, seconds=seconds, stale=False)


def size(dataset: Dataset) -> int:
    """Return the number of samples, at once."""
    with answering():
        return int(dataset_of(dataset)._sample_collection.estimated_document_count())


def aggregate(dataset: Dataset, pipeline: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the database makes of all samples by an aggregation pipeline."""
    with answering():
        collection = dataset_of(dataset)._sample_collection
        return list(collection.aggregate(list(pipeline), allowDiskUse=True))


def newest(dataset: Dataset) -> str:
    """Return when a sample was last changed, ISO 8601; "" where there is none. By an index."""
    with answering():
        found = dataset_of(dataset)._sample_collection.find_one(
            {}, {"last_modified_at": 1}, sort=[("last_modified_at", -1)]
        )
    changed = (found or {}).get("last_modified_at")
    return changed.isoformat() if changed else ""


def _state(dataset: Dataset, basis: str) -> dict[str, Any]:
    return {"samples": size(dataset), "newest": newest(dataset), "basis": basis}


def _store(dataset: Dataset) -> Any:
    from fiftyone.operators.store import ExecutionStore

    return ExecutionStore.create(_STORE, dataset_of(dataset)._doc.id)
