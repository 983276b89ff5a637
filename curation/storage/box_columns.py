"""The boxes of many samples as columns, read from the database.

A few samples are read as documents. From some ten thousand label fields on, the bytes that the
database sends are taken apart by compiled code, which costs a tenth and gives the same.

V is the number of boxes, n of samples, M of label fields, A of attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from cascade.arrays import Float64Array, Int64Array
from cascade.runtime.workload import Workload
from curation.errors import StoreError
from curation.storage.collection import chunks, dataset_of, read_documents, translate_errors

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

_LABELS = 1024  # different labels in a batch that are provided for at first
_workload = Workload(enough=10_000)  # label fields


@dataclass(frozen=True, eq=False)
class BoxColumns:
    """The boxes of n samples, ascending by sample, then by label field, as stored within it.

    Attributes:
        sample: Index of the sample, shape (V,).
        member: Index of the label field, shape (V,).
        label_id: Index into `labels`, shape (V,); -1 where a box has no label.
        labels: The labels that occur.
        numbers: The attributes that were asked for, shape (V, A), NaN where a box has none.
        boxes_xywh: Relative corner and size, shape (V, 4), NaN where a box has none.
        ran: Whether a sample has the label field, shape (n, M).
    """

    sample: Int64Array
    member: Int64Array
    label_id: Int64Array
    labels: tuple[str, ...]
    numbers: Float64Array
    boxes_xywh: Float64Array
    ran: NDArray[np.bool_]


def read(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], attributes: Sequence[str]
) -> BoxColumns:
    """Return the boxes of samples; of one that does not exist, none.

    Args:
        samples: The dataset, or a view of it.
        ids: The samples.
        members: Label fields that hold Detections.
        attributes: Numbers of each box.

    Raises:
        StoreError: The database did not answer, or not in BSON.
    """
    how = from_bytes if _workload.should_compile(len(ids) * len(members)) else from_documents
    parts = [how(samples, part, members, attributes) for part in chunks(ids)]
    return joined(parts or [from_documents(samples, ids, members, attributes)])


def boxes_of(label: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the raw boxes of a raw label field; none where there is no field."""
    return list((label or {}).get("detections") or [])


def from_documents(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], attributes: Sequence[str]
) -> BoxColumns:
    """Return what `read` does, box by box."""
    ran = np.zeros((len(ids), len(members)), bool)
    place: list[tuple[int, int]] = []
    found: list[dict[str, Any]] = []
    for i, row in read_documents(samples, ids, _projection(members, attributes)):
        for m, name in enumerate(members):
            if row.get(name) is not None:
                ran[i, m] = True
                boxes = boxes_of(row[name])
                found += boxes
                place += [(i, m)] * len(boxes)
    words = dict.fromkeys(box["label"] for box in found if box.get("label") is not None)
    index = {word: i for i, word in enumerate(words)}
    where: Int64Array = np.array(place, np.int64).reshape(-1, 2)
    numbers = [[_number(box.get(one)) for one in attributes] for box in found]
    return BoxColumns(
        sample=where[:, 0],
        member=where[:, 1],
        label_id=np.array([index.get(box.get("label"), -1) for box in found], np.int64),
        labels=tuple(index),
        numbers=np.array(numbers, np.float64).reshape(len(found), len(attributes)),
        boxes_xywh=np.array([_four(box.get("bounding_box")) for box in found]).reshape(-1, 4),
        ran=ran,
    )


def from_bytes(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], attributes: Sequence[str]
) -> BoxColumns:
    """Return what `read` does, by compiled code."""
    from curation.storage.bson import decoder

    collection, keys = dataset_of(samples)._sample_collection, [ObjectId(one) for one in ids]
    with translate_errors():
        found = list(
            collection.find_raw_batches(
                {"_id": {"$in": keys}}, _projection(members, attributes), batch_size=len(ids)
            )
        )
    batches = [np.frombuffer(one, np.uint8) for one in found]
    place = {key.binary: i for i, key in enumerate(keys)}
    names, of_boxes = decoder.joined(members), decoder.joined(attributes)

    held = np.full((len(ids), len(members)), -1, np.int64)
    rows, starts = [], []
    for data in batches:
        starts.append(decoder.documents(data))
        their_ids, boxes = decoder.count(data, starts[-1], *names)
        if len(boxes) != len(starts[-1]) - 1 or starts[-1][0] < 0:
            raise StoreError("The database sent bytes that are no BSON documents. Try again.")
        rows.append([place[one.tobytes()] for one in their_ids])
        held[rows[-1]] = boxes
    boxes_in = np.maximum(held, 0).reshape(-1)
    first = (np.cumsum(boxes_in) - boxes_in).reshape(held.shape)
    n_boxes = int(boxes_in.sum())

    label_id = np.empty(n_boxes, np.int64)
    numbers, corners = np.empty((n_boxes, len(attributes))), np.empty((n_boxes, 4))
    words: list[str] = []
    for data, their_rows, their_starts in zip(batches, rows, starts, strict=True):
        how = (data, their_starts, names, of_boxes, first[their_rows], label_id, numbers, corners)
        most = _LABELS
        new = decoder.fill(*how, len(words), most)
        while len(new) and new[0, 0] == decoder.TOO_MANY_LABELS:
            most *= 8
            new = decoder.fill(*how, len(words), most)
        words += [data[at : at + size].tobytes().decode() for at, size in new.tolist()]
    labels = {word: i for i, word in enumerate(dict.fromkeys(words))}  # of all batches, once
    final = np.array([*(labels[word] for word in words), -1], np.int64)
    sample, member = np.divmod(np.repeat(np.arange(held.size), boxes_in), max(len(members), 1))
    return BoxColumns(
        sample=sample,
        member=member,
        label_id=final[label_id],
        labels=tuple(labels),
        numbers=numbers,
        boxes_xywh=corners,
        ran=held >= 0,
    )


def joined(parts: Sequence[BoxColumns]) -> BoxColumns:
    """Return the columns of samples that follow each other as one."""
    if len(parts) == 1:
        return parts[0]
    words = dict.fromkeys(word for one in parts for word in one.labels)
    labels = {word: i for i, word in enumerate(words)}
    first = np.cumsum([0, *(len(one.ran) for one in parts)])
    ids = [
        np.array([*(labels[word] for word in one.labels), -1], np.int64)[one.label_id]
        for one in parts
    ]
    return BoxColumns(
        sample=np.concatenate([one.sample + first[i] for i, one in enumerate(parts)]),
        member=np.concatenate([one.member for one in parts]),
        label_id=np.concatenate(ids),
        labels=tuple(labels),
        numbers=np.concatenate([one.numbers for one in parts]),
        boxes_xywh=np.concatenate([one.boxes_xywh for one in parts]),
        ran=np.concatenate([one.ran for one in parts]),
    )


def _projection(members: Sequence[str], attributes: Sequence[str]) -> dict[str, int]:
    wanted = ("label", "bounding_box", *attributes)
    projection = {f"{m}.detections.{one}": 1 for m in members for one in wanted}
    return projection | {f"{m}._cls": 1 for m in members}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _four(values: Any) -> list[float]:
    found = [_number(one) for one in values] if isinstance(values, list) else []
    return found if len(found) == 4 else [np.nan] * 4
