"""Bulk reads and writes of the raw documents of a dataset's samples.

With `schema`, the only module that uses FiftyOne's private interface. All fields of a sample
are written in one `$set`, so a sample is never written partially, and a thousand samples take
one request.

Samples are a FiftyOne dataset or a view: a view selects samples, its filters on labels are
ignored. Fields must be declared first, see `schema`.
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

_MAX_INDEXES = 60  # of the 64 that MongoDB allows; the others are for the user
CHUNK = 1000  # samples per request: the fastest size, and the most that a crash loses


def dataset_of(samples: SampleCollection) -> Dataset:
    """Return the dataset of a view; a dataset is its own."""
    return samples._dataset


def ids_and_paths(samples: SampleCollection) -> tuple[list[str], list[str]]:
    """Return the ids and files of the samples, ordered by file, then by id."""
    ids, paths = samples.values(["id", "filepath"])
    ordered = sorted(zip(paths, ids, strict=True))
    return [sample_id for _, sample_id in ordered], [path for path, _ in ordered]


def write_documents(samples: SampleCollection, update: Mapping[str, Document]) -> int:
    """Write `{sample id: {field: raw value}}`, atomically per sample, and return the count.

    Raises:
        StoreError: The database refused a write; earlier samples are written.
        DatasetError: A sample does not exist.
    """
    return update_documents(
        samples, {sample_id: {"$set": fields} for sample_id, fields in update.items()}
    )


def update_documents(
    samples: SampleCollection, operators: Mapping[str, Mapping[str, Document]]
) -> int:
    """Apply MongoDB update operators, `{sample id: {"$set": {...}}}`, and return the count.

    Raises:
        StoreError: The database refused a write; earlier samples are written.
        DatasetError: A sample does not exist.
    """
    dataset = dataset_of(samples)
    now = datetime.now(UTC)
    for ids in chunks(list(operators)):
        updates = [
            UpdateOne(
                {"_id": ObjectId(sample_id)},
                {
                    **operators[sample_id],
                    "$set": {**operators[sample_id]["$set"], "last_modified_at": now},
                },
            )
            for sample_id in ids
        ]
        with translate_errors():
            result = dataset._sample_collection.bulk_write(updates, ordered=False)
        if result.matched_count < len(ids):
            raise DatasetError(
                f"{len(ids) - result.matched_count} of {len(ids)} samples are not in the dataset "
                f"{dataset.name!r}: they were deleted, or belong to another dataset."
            )
    dataset._reload_docs()  # sample objects in memory
    return len(operators)


def read_documents(
    samples: SampleCollection, ids: Sequence[str], projection: Mapping[str, int]
) -> Iterator[tuple[int, Document]]:
    """Yield the raw documents of existing samples with their index in `ids`, in order."""
    collection = dataset_of(samples)._sample_collection
    for start in range(0, len(ids), CHUNK):
        keys = [ObjectId(sample_id) for sample_id in ids[start : start + CHUNK]]
        with translate_errors():
            documents = {
                document["_id"]: document
                for document in collection.find({"_id": {"$in": keys}}, projection)
            }
        yield from ((start + i, documents[key]) for i, key in enumerate(keys) if key in documents)


def require_fields(samples: SampleCollection, names: Iterable[str]) -> None:
    """Raise StoreError, with the most similar field, for a name without a field."""
    schema = samples.get_field_schema()
    for name in names:
        if name not in schema:
            raise StoreError(
                f"The dataset {dataset_of(samples).name!r} has no field {name!r}. "
                f"{nearest(name, schema)}"
            )


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the ids in chunks of one request."""
    yield from (ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK))


def index_fingerprints(samples: SampleCollection, label_fields: Iterable[str]) -> None:
    """Index the fingerprints of label fields, where the dataset has them.

    With an index, the cost of `missing_ids` depends on the missing samples only.
    """
    dataset = dataset_of(samples)
    paths = [f"{name}.{schema.FINGERPRINT}" for name in label_fields]
    indexed = set(dataset.list_indexes())
    for path in paths:
        if path in indexed or dataset.get_field(path) is None:
            continue
        if len(indexed) >= _MAX_INDEXES:
            logger.info("%s has %d indexes: no index on %s.", dataset.name, len(indexed), path)
            return
        dataset.create_index(path)
        indexed.add(path)


def missing_ids(samples: SampleCollection, label_field: str, fingerprint: str) -> list[str]:
    """Return the ids of the samples whose label field lacks the fingerprint, in any order.

    They include samples on which the member failed before.
    """
    require_fields(samples, [label_field])
    path = f"{label_field}.{schema.FINGERPRINT}"
    return list(samples.match({path: {"$ne": fingerprint}}).values("id"))


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Translate database errors to StoreError."""
    try:
        yield
    except InvalidDocument as error:
        raise StoreError(f"Cannot store a value: {error}.") from error
    except PyMongoError as error:
        first = str(error).split(",")[0].split(" (configured")[0]
        raise StoreError(
            f"A database request failed ({type(error).__name__}: {first}). Earlier writes are "
            "kept. If the disk of the database is full, make room; then run again."
        ) from error
