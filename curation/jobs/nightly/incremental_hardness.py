"""The hardness of a pool that grew: what is new is scored, what is known is only ranked again.

What an image's boxes say of its hardness depends on that image alone; only its rank depends on
the others. So the raw values are kept in the database, by sample, with the ensemble and the
predictions that they come from, and a night reads no box of the samples before it. Ranks are the
same, to the last digit, as those of `stages.score` over the whole pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pymongo import ReplaceOne

from cascade.arrays import FloatArray
from cascade.ensemble import Ensemble
from curation.active_learning.scoring import batch_hardness, hardness
from curation.storage import queries, reader, writer
from curation.storage import schema as fields

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

COLLECTION = "curation_raw_hardness"
_CHUNK = 1000
_RAW = ("detection", "image", "contradiction")

Raw = dict[str, tuple[float, ...]]  # by sample: the values of `_RAW`, NaN where not defined


@dataclass(frozen=True)
class Reranked:
    """What a call did.

    Attributes:
        ranked: Samples of the pool.
        scored: Those whose boxes were read: new ones, and those whose predictions changed.
        changed: Those whose hardness is another now.
    """

    ranked: int
    scored: int
    changed: int


def rerank(dataset: Dataset, ensemble: Ensemble, database: Any) -> Reranked:
    """Write the hardness of the whole pool, reading the boxes of what is new only.

    Args:
        dataset: A FiftyOne dataset whose pool the ensemble is through with.
        ensemble: Whose calibration, weights and vocabulary hold.
        database: The MongoDB database (of pymongo) that raw values are kept in.

    Raises:
        StageError: There is no pool.
    """
    view = queries.pool(dataset)
    queries.require_pool(view, dataset.name)
    fields.declare_hardness(dataset)
    ids, marks = _marks(view, ensemble)
    kept = _Kept(database[COLLECTION], dataset.name)
    raw = kept.read(ids, marks)
    new = [one for one in ids if one not in raw]
    for start in range(0, len(new), _CHUNK):
        part = _score(dataset, new[start : start + _CHUNK], ensemble)
        kept.write(part, marks)
        raw |= part
    before = queries.float_array(reader.read_columns(view, [fields.HARDNESS])[fields.HARDNESS])
    after = _ranked(np.array([raw[one] for one in ids], np.float64))
    changed = np.flatnonzero(~((before == after) | (np.isnan(before) & np.isnan(after))))
    values: Any = after[changed]
    writer.write_columns(dataset, [ids[i] for i in changed], {fields.HARDNESS: values})
    queries.write_info(
        dataset, "score", {"members": list(ensemble.detectors), "ensemble": ensemble.identity}
    )
    return Reranked(ranked=len(ids), scored=len(new), changed=len(changed))


def _marks(view: DatasetView, ensemble: Ensemble) -> tuple[list[str], dict[str, str]]:
    """Return the ids in order, and for each a hash of all that its raw values come from."""
    members = [*ensemble.detectors, *_language(view, ensemble)]
    columns = reader.read_columns(view, [f"{one}.{fields.FINGERPRINT}" for one in members])
    ids = columns.pop("id")
    mine = f"{ensemble.identity} {' '.join(ensemble.detectors)}"
    rows = zip(*columns.values(), strict=True)
    known: dict[Any, str] = {}
    return ids, {one: _mark(mine, row, known) for one, row in zip(ids, rows, strict=True)}


def _mark(mine: str, row: Sequence[Any], known: dict[Any, str]) -> str:
    if row not in known:
        known[row] = hashlib.sha256(f"{mine} {row}".encode()).hexdigest()[:16]
    return known[row]


def _language(view: DatasetView, ensemble: Ensemble) -> list[str]:
    schema = view.get_field_schema()
    return [one for one in ensemble.available("language") if one in schema]


@dataclass(frozen=True)
class _Kept:
    """The raw values of one dataset: clones share the ids of their samples."""

    collection: Any
    dataset: str

    def read(self, ids: Sequence[str], marks: Mapping[str, str]) -> Raw:
        """Return the raw values that are kept and still hold."""
        raw: Raw = {}
        for start in range(0, len(ids), 10 * _CHUNK):
            keys = {self._key(one): one for one in ids[start : start + 10 * _CHUNK]}
            for found in self.collection.find({"_id": {"$in": list(keys)}}):
                one = keys[found["_id"]]
                if found["mark"] == marks[one]:
                    raw[one] = tuple(np.nan if found[n] is None else found[n] for n in _RAW)
        return raw

    def write(self, raw: Raw, marks: Mapping[str, str]) -> None:
        """Keep raw values."""
        updates = []
        for one, values in raw.items():
            named = zip(_RAW, values, strict=True)
            content = {name: None if np.isnan(value) else float(value) for name, value in named}
            found = {"_id": self._key(one)}
            updates.append(ReplaceOne(found, {**content, "mark": marks[one]}, upsert=True))
        self.collection.bulk_write(updates, ordered=False)

    def _key(self, sample: str) -> str:
        return f"{self.dataset}/{sample}"


def _score(dataset: Dataset, ids: Sequence[str], ensemble: Ensemble) -> Raw:
    """Read what the members say of samples, write the components, return the raw values."""
    found = batch_hardness.ensemble_hardness(dataset, ids, ensemble)
    writer.write_columns(dataset, found.ids, found.columns())
    rows = np.column_stack([found.detection, found.image, found.contradiction])
    return {one: tuple(row) for one, row in zip(found.ids, rows.tolist(), strict=True)}


def _ranked(raw: FloatArray) -> FloatArray:
    """Return the hardness over the pool of raw values of shape (n, 3)."""
    detection, image, contradiction = raw.T
    return hardness.over_pool(detection, image, contradiction > 0, np.isfinite(detection))
