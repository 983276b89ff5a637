"""Hardness of a growing pool: new samples are scored, and all samples ranked again.

The raw values of an image depend on its own boxes only; its rank depends on all images. Raw
values are therefore cached in the database, by sample, with a hash of the ensemble and
predictions that they come from, and boxes of unchanged samples are not read again. Ranks are
identical to those of `stages.score` over the whole pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pymongo import ReplaceOne

from cascade.arrays import FloatArray
from cascade.ensemble import Ensemble
from curation.active_learning.scoring import batch_hardness, hardness
from curation.storage import queries, reader, schema, writer

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

COLLECTION = "curation_raw_hardness"
_CHUNK = 1000
_RAW = ("detection", "image", "contradiction")

RawValues = dict[str, tuple[float, ...]]  # by sample: values of `_RAW`, NaN if undefined


@dataclass(frozen=True)
class Reranked:
    """Counts of `rerank`.

    Attributes:
        ranked: Samples of the pool.
        scored: Samples whose boxes were read: new ones, and those with changed predictions.
        changed: Samples whose hardness changed.
    """

    ranked: int
    scored: int
    changed: int


def rerank(dataset: Dataset, ensemble: Ensemble, database: Any) -> Reranked:
    """Write the hardness of the whole pool, reading the boxes of new samples only.

    Args:
        dataset: FiftyOne dataset with predictions of the ensemble for the whole pool.
        ensemble: Ensemble with calibration, weights and vocabulary.
        database: MongoDB database with the cache of raw values.

    Raises:
        StageError: The pool is empty.
    """
    view = queries.pool(dataset)
    queries.require_pool(view, dataset.name)
    schema.declare_hardness(dataset)
    ids, hashes = _input_hashes(view, ensemble)
    cache = _RawValueCache(database[COLLECTION], dataset.name)
    raw = cache.read(ids, hashes)
    new = [sample_id for sample_id in ids if sample_id not in raw]
    for start in range(0, len(new), _CHUNK):
        part = _score(dataset, new[start : start + _CHUNK], ensemble)
        cache.write(part, hashes)
        raw |= part
    before = queries.float_array(reader.read_columns(view, [schema.HARDNESS])[schema.HARDNESS])
    after = _ranked(np.array([raw[sample_id] for sample_id in ids], np.float64))
    changed = np.flatnonzero(~((before == after) | (np.isnan(before) & np.isnan(after))))
    values: Any = after[changed]
    writer.write_columns(dataset, [ids[i] for i in changed], {schema.HARDNESS: values})
    queries.write_info(
        dataset, "score", {"members": list(ensemble.detectors), "ensemble": ensemble.identity}
    )
    return Reranked(ranked=len(ids), scored=len(new), changed=len(changed))


def _input_hashes(view: DatasetView, ensemble: Ensemble) -> tuple[list[str], dict[str, str]]:
    """Return the ids in order, and by id a hash of all inputs of the raw values."""
    members = [*ensemble.detectors, *_language(view, ensemble)]
    columns = reader.read_columns(view, [f"{member}.{schema.FINGERPRINT}" for member in members])
    ids = columns.pop("id")
    prefix = f"{ensemble.identity} {' '.join(ensemble.detectors)}"

    @cache
    def hash_of(fingerprints: tuple[Any, ...]) -> str:
        return hashlib.sha256(f"{prefix} {fingerprints}".encode()).hexdigest()[:16]

    rows = zip(*columns.values(), strict=True)
    return ids, {sample_id: hash_of(row) for sample_id, row in zip(ids, rows, strict=True)}


def _language(view: DatasetView, ensemble: Ensemble) -> list[str]:
    names = view.get_field_schema()
    return [member for member in ensemble.available("language") if member in names]


@dataclass(frozen=True)
class _RawValueCache:
    """Raw values of one dataset. Keys contain its name: clones share the ids of their samples."""

    collection: Any
    dataset: str

    def read(self, ids: Sequence[str], hashes: Mapping[str, str]) -> RawValues:
        """Return the cached values whose inputs have not changed."""
        raw: RawValues = {}
        for start in range(0, len(ids), 10 * _CHUNK):
            keys = {
                self._key(sample_id): sample_id for sample_id in ids[start : start + 10 * _CHUNK]
            }
            for document in self.collection.find({"_id": {"$in": list(keys)}}):
                sample_id = keys[document["_id"]]
                if document["mark"] == hashes[sample_id]:
                    values = (document[name] for name in _RAW)
                    raw[sample_id] = tuple(np.nan if value is None else value for value in values)
        return raw

    def write(self, raw: RawValues, hashes: Mapping[str, str]) -> None:
        """Cache raw values."""
        updates = []
        for sample_id, values in raw.items():
            named = zip(_RAW, values, strict=True)
            content: dict[str, Any] = {
                name: None if np.isnan(value) else float(value) for name, value in named
            }
            content["mark"] = hashes[sample_id]
            updates.append(ReplaceOne({"_id": self._key(sample_id)}, content, upsert=True))
        self.collection.bulk_write(updates, ordered=False)

    def _key(self, sample: str) -> str:
        return f"{self.dataset}/{sample}"


def _score(dataset: Dataset, ids: Sequence[str], ensemble: Ensemble) -> RawValues:
    """Score samples, write the hardness components, and return the raw values."""
    scores = batch_hardness.ensemble_hardness(dataset, ids, ensemble)
    writer.write_columns(dataset, scores.ids, scores.columns())
    rows = np.column_stack([scores.detection, scores.image, scores.contradiction])
    return {sample_id: tuple(row) for sample_id, row in zip(scores.ids, rows.tolist(), strict=True)}


def _ranked(raw: FloatArray) -> FloatArray:
    """Return the hardness over the pool, shape (n,), from raw values of shape (n, 3)."""
    detection, image, contradiction = raw.T
    return hardness.over_pool(detection, image, contradiction > 0, np.isfinite(detection))
