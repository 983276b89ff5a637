"""The samples of a dataset as raw documents: many fields of a sample in one step.

The only file, beside the declaration in `fields.py`, that goes past FiftyOne's public
interface. Several fields are written in one
`$set`, so that a sample is whole or as it was, and a thousand samples take one request.

Samples are a FiftyOne dataset or a view of one: its choice of samples holds, what it filters
within labels does not. Fields must be declared first: see `fields.py`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bson import ObjectId
from bson.errors import InvalidDocument
from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from cascade.errors import nearest
from curation.errors import DatasetError, StoreError
from curation.storage import schema
from curation.storage.documents import Document

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

logger = logging.getLogger(__name__)

_MOST_INDEXES = 60  # of the 64 that MongoDB allows: a few are left to the owner
CHUNK = 1000  # samples a request: measured best, and what a crash can lose


def dataset_of(samples: SampleCollection) -> Dataset:
    """Return the dataset that the samples belong to: itself, or what a view looks at."""
    return samples._dataset


def ids_and_paths(samples: SampleCollection) -> tuple[list[str], list[str]]:
    """Return the ids and files of the samples, ordered by file and then by id."""
    ids, paths = samples.values(["id", "filepath"])
    ordered = sorted(zip(paths, ids, strict=True))
    return [one for _, one in ordered], [path for path, _ in ordered]


def write_documents(samples: SampleCollection, update: Mapping[str, Document]) -> int:
    """Store `{sample id: {field: raw value}}`, each sample in one step; return how many.

    Raises:
        StoreError: The database did not take the write; samples before it are written.
        DatasetError: A sample does not exist.
    """
    return update_documents(samples, {one: {"$set": content} for one, content in update.items()})


def update_documents(
    samples: SampleCollection, operators: Mapping[str, Mapping[str, Document]]
) -> int:
    """Apply MongoDB's update operators, `{sample id: {"$set": {...}}}`; return how many.

    Raises:
        StoreError: The database did not take the write; samples before it are written.
        DatasetError: A sample does not exist.
    """
    dataset = dataset_of(samples)
    now = datetime.now(UTC)
    for ids in chunks(list(operators)):
        updates = [
            UpdateOne(
                {"_id": ObjectId(one)},
                {**operators[one], "$set": {**operators[one]["$set"], "last_modified_at": now}},
            )
            for one in ids
        ]
        with translate_errors():
            result = dataset._sample_collection.bulk_write(updates, ordered=False)
        if result.matched_count < len(ids):
            raise DatasetError(
                f"{len(ids) - result.matched_count} of {len(ids)} samples are not in the dataset "
                f"{dataset.name!r}: they were deleted meanwhile, or belong to another one."
            )
    dataset._reload_docs()  # samples that somebody holds in memory
    return len(operators)


def read_documents(
    samples: SampleCollection, ids: Sequence[str], projection: Mapping[str, int]
) -> Iterator[tuple[int, Document]]:
    """Give each sample's raw document with its place in `ids`, in order."""
    collection = dataset_of(samples)._sample_collection
    for start in range(0, len(ids), CHUNK):
        chunk = [ObjectId(one) for one in ids[start : start + CHUNK]]
        with translate_errors():
            found = {
                row["_id"]: row for row in collection.find({"_id": {"$in": chunk}}, projection)
            }
        yield from ((start + i, found[one]) for i, one in enumerate(chunk) if one in found)


def require_fields(samples: SampleCollection, names: Iterable[str]) -> None:
    """Refuse names that are no field of the samples, and name the nearest."""
    schema = samples.get_field_schema()
    for name in names:
        if name not in schema:
            raise StoreError(
                f"The dataset {dataset_of(samples).name!r} has no field {name!r}. "
                f"{nearest(name, schema)}"
            )


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Give the ids in pieces of one request."""
    yield from (ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK))


def index_fingerprints(samples: SampleCollection, label_fields: Iterable[str]) -> None:
    """Index the fingerprints of label fields that have one and no index yet.

    A fingerprint is written in the same step as its labels, so an index over them never claims
    work that is not done, and a lookup costs what is missing, not what exists.
    """
    dataset = dataset_of(samples)
    paths = [f"{name}.{schema.FINGERPRINT}" for name in label_fields]
    indexed = set(dataset.list_indexes())
    for path in paths:
        if path in indexed or dataset.get_field(path) is None:
            continue
        if len(indexed) >= _MOST_INDEXES:
            logger.info("%s has %d indexes; %s gets none.", dataset.name, len(indexed), path)
            return
        dataset.create_index(path)
        indexed.add(path)


def missing_ids(samples: SampleCollection, label_field: str, fingerprint: str) -> list[str]:
    """Return the ids of samples whose label field lacks the fingerprint, in any order.

    Samples on which the member failed are included: it may succeed now.
    """
    require_fields(samples, [label_field])
    path = f"{label_field}.{schema.FINGERPRINT}"
    return list(samples.match({path: {"$ne": fingerprint}}).values("id"))


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Say in our words that the database failed."""
    try:
        yield
    except InvalidDocument as error:
        raise StoreError(f"A value cannot be stored: {error}.") from error
    except PyMongoError as error:
        first = str(error).split(",")[0].split(" (configured")[0]
        raise StoreError(
            f"The database did not answer as it should ({type(error).__name__}: {first}). "
            "What was written before stays. If its disk is full, make room; then run again."
        ) from error
