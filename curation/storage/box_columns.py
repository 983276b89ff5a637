"""Bulk reading of boxes from the database into columns.

Small reads build the columns from documents. From about ten thousand label fields on, compiled
code parses the raw BSON, with the same result at a tenth of the cost.

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

_LABELS = 1024  # initial capacity for the distinct labels of a batch
_workload = Workload(enough=10_000)  # label fields


@dataclass(frozen=True, eq=False)
class BoxColumns:
    """The boxes of n samples, ordered by sample, then label field, then as stored.

    Attributes:
        sample: Index of the sample, shape (V,).
        member: Index of the label field, shape (V,).
        label_id: Index into `labels`, shape (V,); -1 for a box without label.
        labels: The distinct labels.
        numbers: The requested attributes, shape (V, A), NaN if absent.
        boxes_xywh: Relative corner and size, shape (V, 4), NaN if absent.
        ran: Whether a sample has the label field, shape (n, M).
    """

    sample: Int64Array
    member: Int64Array
    label_id: Int64Array
    labels: tuple[str, ...]
    numbers: Float64Array
    boxes_xywh: Float64Array
    ran: NDArray[np.bool_]


def read_boxes(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], attributes: Sequence[str]
) -> BoxColumns:
    """Return the boxes of samples; a sample that does not exist has none.

    Args:
        samples: The dataset, or a view of it.
        ids: Sample ids.
        members: Label fields of type Detections.
        attributes: Numeric attributes of each box.

    Raises:
        StoreError: The database did not answer, or its reply is not BSON.
    """
    large = _workload.should_compile(len(ids) * len(members))
    read = read_from_bytes if large else read_from_documents
    parts = [read(samples, chunk, members, attributes) for chunk in chunks(ids)]
    return concatenate(parts or [read_from_documents(samples, ids, members, attributes)])


def raw_boxes(label_field: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the raw boxes of a raw label field, or an empty list without a field."""
    return list((label_field or {}).get("detections") or [])


def read_from_documents(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], attributes: Sequence[str]
) -> BoxColumns:
    """Return the same as `read_boxes`, box by box."""
    ran = np.zeros((len(ids), len(members)), bool)
    owners: list[tuple[int, int]] = []
    boxes: list[dict[str, Any]] = []
    for i, document in read_documents(samples, ids, _projection(members, attributes)):
        for m, name in enumerate(members):
            if document.get(name) is not None:
                ran[i, m] = True
                new = raw_boxes(document[name])
                boxes += new
                owners += [(i, m)] * len(new)
    labels = dict.fromkeys(box["label"] for box in boxes if box.get("label") is not None)
    index = {label: i for i, label in enumerate(labels)}
    owner: Int64Array = np.array(owners, np.int64).reshape(-1, 2)
    numbers = [[_number(box.get(name)) for name in attributes] for box in boxes]
    return BoxColumns(
        sample=owner[:, 0],
        member=owner[:, 1],
        label_id=np.array([index.get(box.get("label"), -1) for box in boxes], np.int64),
        labels=tuple(index),
        numbers=np.array(numbers, np.float64).reshape(len(boxes), len(attributes)),
        boxes_xywh=np.array([_four(box.get("bounding_box")) for box in boxes]).reshape(-1, 4),
        ran=ran,
    )


def read_from_bytes(
    samples: SampleCollection, ids: Sequence[str], members: Sequence[str], attributes: Sequence[str]
) -> BoxColumns:
    """Return the same as `read_boxes`, with compiled code."""
    from curation.storage.bson import decoder

    collection = dataset_of(samples)._sample_collection
    keys = [ObjectId(sample_id) for sample_id in ids]
    with translate_errors():
        raw = list(
            collection.find_raw_batches(
                {"_id": {"$in": keys}}, _projection(members, attributes), batch_size=len(ids)
            )
        )
    batches = [np.frombuffer(data, np.uint8) for data in raw]
    row_of_key = {key.binary: i for i, key in enumerate(keys)}
    names, attribute_names = decoder.pack_texts(members), decoder.pack_texts(attributes)

    # First pass: the number of boxes of every label field, -1 for an absent field.
    counts = np.full((len(ids), len(members)), -1, np.int64)
    rows, starts = [], []
    for data in batches:
        starts.append(decoder.document_starts(data))
        batch_keys, batch_counts = decoder.count_boxes(data, starts[-1], *names)
        if len(batch_counts) != len(starts[-1]) - 1 or starts[-1][0] < 0:
            raise StoreError("Cannot parse the database's reply as BSON. Try again.")
        rows.append([row_of_key[key.tobytes()] for key in batch_keys])
        counts[rows[-1]] = batch_counts
    n_boxes = np.maximum(counts, 0).reshape(-1)
    first_box = (np.cumsum(n_boxes) - n_boxes).reshape(counts.shape)
    total = int(n_boxes.sum())

    # Second pass: fill the columns. Each batch interns its own labels.
    label_id = np.empty(total, np.int64)
    numbers, corners = np.empty((total, len(attributes))), np.empty((total, 4))
    words: list[str] = []
    for data, batch_rows, batch_starts in zip(batches, rows, starts, strict=True):
        arguments = (
            data, batch_starts, names, attribute_names, first_box[batch_rows],
            label_id, numbers, corners, len(words),
        )  # fmt: skip
        capacity = _LABELS
        new = decoder.fill_boxes(*arguments, capacity)
        while len(new) and new[0, 0] == decoder.TOO_MANY_LABELS:
            capacity *= 8
            new = decoder.fill_boxes(*arguments, capacity)
        words += [data[start : start + size].tobytes().decode() for start, size in new.tolist()]
    labels, merged_id = _merge_labels(words)
    sample, member = np.divmod(np.repeat(np.arange(counts.size), n_boxes), max(len(members), 1))
    return BoxColumns(
        sample=sample,
        member=member,
        label_id=merged_id[label_id],
        labels=labels,
        numbers=numbers,
        boxes_xywh=corners,
        ran=counts >= 0,
    )


def concatenate(parts: Sequence[BoxColumns]) -> BoxColumns:
    """Return the columns of consecutive samples as one."""
    if len(parts) == 1:
        return parts[0]
    labels, merged_id = _merge_labels([label for part in parts for label in part.labels])
    first_row = np.cumsum([0, *(len(part.ran) for part in parts)])
    first_label = np.cumsum([0, *(len(part.labels) for part in parts)])
    ids = [
        merged_id[np.where(part.label_id < 0, -1, part.label_id + first_label[i])]
        for i, part in enumerate(parts)
    ]
    return BoxColumns(
        sample=np.concatenate([part.sample + first_row[i] for i, part in enumerate(parts)]),
        member=np.concatenate([part.member for part in parts]),
        label_id=np.concatenate(ids),
        labels=labels,
        numbers=np.concatenate([part.numbers for part in parts]),
        boxes_xywh=np.concatenate([part.boxes_xywh for part in parts]),
        ran=np.concatenate([part.ran for part in parts]),
    )


def _merge_labels(words: Sequence[str]) -> tuple[tuple[str, ...], Int64Array]:
    """Return the distinct words, and the index of each word in them; index -1 maps to -1."""
    labels = {word: i for i, word in enumerate(dict.fromkeys(words))}
    return tuple(labels), np.array([*(labels[word] for word in words), -1], np.int64)


def _projection(members: Sequence[str], attributes: Sequence[str]) -> dict[str, int]:
    parts = ("label", "bounding_box", *attributes)
    projection = {f"{member}.detections.{part}": 1 for member in members for part in parts}
    return projection | {f"{member}._cls": 1 for member in members}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _four(values: Any) -> list[float]:
    numbers = [_number(value) for value in values] if isinstance(values, list) else []
    return numbers if len(numbers) == 4 else [np.nan] * 4
