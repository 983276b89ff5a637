"""Label fields as the database keeps them, from columns of boxes. Pure: no database.

A few boxes become documents. From some fifty thousand on, compiled code writes the bytes that
these documents would become, which costs a twentieth. Numbers are python floats and ints: the
database takes no others.

V is the number of boxes, n of label fields, W of words in a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import bson
import numpy as np
from bson.raw_bson import RawBSONDocument
from numpy.typing import NDArray

from cascade.arrays import FloatArray, IntArray
from cascade.runtime.workload import Workload
from curation.storage.conversions import raw_detection
from curation.storage.schema import FINGERPRINT

Document = Mapping[str, Any]

_workload = Workload(enough=50_000)
_AT_ONCE = 2**20  # boxes whose ids a counter of 24 bits tells apart with ease


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number of each box, shape (V,), NaN where it has none."""

    values: FloatArray | IntArray
    kind: Literal["double", "int", "bool"] = "double"


@dataclass(frozen=True, eq=False)
class Words:
    """A word of each box, an index into `words`, shape (V,); -1 where it has none."""

    ids: IntArray
    words: Sequence[str]


@dataclass(frozen=True, eq=False)
class Lists:
    """Which of W words each box has, shape (V, W)."""

    has: NDArray[np.bool_]
    words: Sequence[str]


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of n label fields.

    Attributes:
        n: The number of fields, those without boxes included.
        owner: The field of each box, ascending, shape (V,).
        label: The class of each.
        boxes_xywh: Relative corner and size, shape (V, 4).
        attributes: What else is kept of each, by name; at most one holds `Lists`.
    """

    n: int
    owner: IntArray
    label: Words
    boxes_xywh: FloatArray
    attributes: Mapping[str, Numbers | Words | Lists] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.owner)


def label_fields(boxes: Boxes, fingerprint: str) -> list[Document]:
    """Return the label fields, n of them, as documents or as the bytes of such.

    Args:
        boxes: Of these fields.
        fingerprint: The hash of all that decides on them.
    """
    if _workload.should_compile(len(boxes)) and len(boxes) <= _AT_ONCE:
        return as_bytes(boxes, fingerprint)
    return as_documents(boxes, fingerprint)


def as_documents(boxes: Boxes, fingerprint: str) -> list[Document]:
    """Return what `label_fields` does, box by box."""
    columns = {name: _values(one) for name, one in boxes.attributes.items()}
    labels, corners = _values(boxes.label), boxes.boxes_xywh.tolist()
    made = [labels_field(fingerprint) for _ in range(boxes.n)]
    for row, owner in enumerate(boxes.owner.tolist()):
        attributes = {name: values[row] for name, values in columns.items()}
        made[owner]["detections"].append(raw_detection(labels[row], corners[row], **attributes))
    return list(made)


def as_bytes(boxes: Boxes, fingerprint: str) -> list[Document]:
    """Return what `label_fields` does, by compiled code."""
    from curation.storage.bson import encoder
    from curation.storage.bson.decoder import joined

    columns: dict[str, Any] = {"label": boxes.label, "bounding_box": None, **boxes.attributes}
    codes = {"double": encoder.DOUBLE, "int": encoder.INT, "bool": encoder.BOOL}
    kinds: list[int] = []
    column: list[int] = []
    words: list[str] = []
    numbers: list[FloatArray] = []
    texts: list[IntArray] = []
    lists = np.zeros((len(boxes), 0), bool)
    for one in columns.values():
        column.append(len(numbers) if isinstance(one, Numbers) else len(texts))
        if isinstance(one, Numbers):
            kinds.append(codes[one.kind])
            numbers.append(np.asarray(one.values, np.float64))
        elif isinstance(one, Words):
            kinds.append(encoder.TEXT)
            texts.append(np.where(one.ids < 0, -1, one.ids + len(words)))
            words += one.words
        elif isinstance(one, Lists):
            kinds.append(encoder.TEXTS)
            lists = np.ascontiguousarray(one.has)
        else:
            kinds.append(encoder.BOX)
    words += [word for one in columns.values() if isinstance(one, Lists) for word in one.words]
    head, tail = _inner({"_cls": "Detections"}), _inner({FINGERPRINT: fingerprint})
    fixed = _inner({"_cls": "Detection", "attributes": {}, "tags": []})
    longest = max((len(word.encode()) for word in words), default=0)
    list_words = sum(len(word.encode()) + 20 for word in words[len(words) - lists.shape[1] :])
    of_box = len(fixed) + sum(len(name) + 64 + longest for name in columns) + list_words + 64
    made, starts = encoder.encode(
        np.searchsorted(boxes.owner, np.arange(boxes.n + 1)).astype(np.int64),
        encoder.object_ids(len(boxes)),
        np.ascontiguousarray(boxes.boxes_xywh, np.float64),
        np.array(numbers, np.float64).reshape(len(numbers), len(boxes)),
        np.array(texts, np.int64).reshape(len(texts), len(boxes)),
        lists,
        np.array(kinds, np.int64),
        np.array(column, np.int64),
        joined(columns),
        joined(words),
        (fixed, head, tail),
        boxes.n * (len(head) + len(tail) + 64) + len(boxes) * of_box,
    )
    data = made.tobytes()
    bounds = starts.tolist()
    return [RawBSONDocument(data[a:b]) for a, b in pairwise(bounds)]


def labels_field(fingerprint: str) -> dict[str, Any]:
    """Return a label field without boxes: "ran, found nothing"."""
    return {"_cls": "Detections", "detections": [], FINGERPRINT: fingerprint}


def _values(column: Numbers | Words | Lists) -> list[Any]:
    """Return a column as python values, None where a box has none."""
    if isinstance(column, Words):
        return [column.words[i] if i >= 0 else None for i in column.ids.tolist()]
    if isinstance(column, Lists):
        return [[column.words[i] for i in np.flatnonzero(row).tolist()] for row in column.has]
    python = {"double": float, "int": int, "bool": bool}[column.kind]
    return [None if one != one else python(one) for one in np.asarray(column.values).tolist()]


def _inner(content: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the elements of a document: its bytes without its size and its end."""
    return np.frombuffer(bson.encode(content)[4:-1], np.uint8)
