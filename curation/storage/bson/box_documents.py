"""Raw label fields from columns of boxes. Pure: no database.

Small inputs become documents. From about fifty thousand boxes on, compiled code writes the same
documents as BSON, at a twentieth of the cost. Numbers are Python floats and ints, because BSON
has no NumPy types.

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
_MAX_ENCODED = 2**20  # boxes; their ids need distinct values of a 24-bit counter


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number per box, shape (V,), NaN if absent."""

    values: FloatArray | IntArray
    kind: Literal["double", "int", "bool"] = "double"


@dataclass(frozen=True, eq=False)
class Words:
    """A word per box: an index into `words`, shape (V,), -1 if absent."""

    ids: IntArray
    words: Sequence[str]


@dataclass(frozen=True, eq=False)
class Lists:
    """A list of words per box: a mask over W words, shape (V, W)."""

    has: NDArray[np.bool_]
    words: Sequence[str]


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of n label fields.

    Attributes:
        n: Number of fields, including those without boxes.
        owner: Field of each box, ascending, shape (V,).
        label: Class of each box.
        boxes_xywh: Relative corner and size, shape (V, 4).
        attributes: Further attributes by name; at most one holds `Lists`.
    """

    n: int
    owner: IntArray
    label: Words
    boxes_xywh: FloatArray
    attributes: Mapping[str, Numbers | Words | Lists] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.owner)


def label_fields(boxes: Boxes, fingerprint: str) -> list[Document]:
    """Return the n label fields as documents, or as encoded documents.

    Args:
        boxes: Boxes of the fields.
        fingerprint: Hash of everything that determines them.
    """
    if _workload.should_compile(len(boxes)) and len(boxes) <= _MAX_ENCODED:
        return to_bytes(boxes, fingerprint)
    return to_documents(boxes, fingerprint)


def to_documents(boxes: Boxes, fingerprint: str) -> list[Document]:
    """Return the same as `label_fields`, box by box."""
    columns = {name: _values(column) for name, column in boxes.attributes.items()}
    labels, corners = _values(boxes.label), boxes.boxes_xywh.tolist()
    fields = [empty_label_field(fingerprint) for _ in range(boxes.n)]
    for row, owner in enumerate(boxes.owner.tolist()):
        attributes = {name: values[row] for name, values in columns.items()}
        fields[owner]["detections"].append(raw_detection(labels[row], corners[row], **attributes))
    return list(fields)


def to_bytes(boxes: Boxes, fingerprint: str) -> list[Document]:
    """Return the same as `label_fields`, with compiled code."""
    from curation.storage.bson import encoder
    from curation.storage.bson.decoder import pack_texts

    columns: dict[str, Any] = {"label": boxes.label, "bounding_box": None, **boxes.attributes}
    codes = {"double": encoder.DOUBLE, "int": encoder.INT, "bool": encoder.BOOL}
    kinds: list[int] = []
    column: list[int] = []
    words: list[str] = []
    numbers: list[FloatArray] = []
    texts: list[IntArray] = []
    lists = np.zeros((len(boxes), 0), bool)
    list_words: list[str] = []  # after all other words
    for values in columns.values():
        column.append(len(numbers) if isinstance(values, Numbers) else len(texts))
        if isinstance(values, Numbers):
            kinds.append(codes[values.kind])
            numbers.append(np.asarray(values.values, np.float64))
        elif isinstance(values, Words):
            kinds.append(encoder.TEXT)
            texts.append(np.where(values.ids < 0, -1, values.ids + len(words)))
            words += values.words
        elif isinstance(values, Lists):
            kinds.append(encoder.TEXTS)
            lists = np.ascontiguousarray(values.has)
            list_words += values.words
        else:
            kinds.append(encoder.BOX)
    words += list_words
    head, tail = _inner({"_cls": "Detections"}), _inner({FINGERPRINT: fingerprint})
    fixed = _inner({"_cls": "Detection", "attributes": {}, "tags": []})
    # An upper bound of the size of the output: 64 bytes cover types, sizes and numbers.
    longest = max((len(word.encode()) for word in words), default=0)
    list_bytes = sum(len(word.encode()) + 20 for word in list_words)
    box_bytes = len(fixed) + sum(len(name) + 64 + longest for name in columns) + list_bytes + 64
    data, starts = encoder.encode(
        np.searchsorted(boxes.owner, np.arange(boxes.n + 1)).astype(np.int64),
        encoder.new_object_ids(len(boxes)),
        np.ascontiguousarray(boxes.boxes_xywh, np.float64),
        np.array(numbers, np.float64).reshape(len(numbers), len(boxes)),
        np.array(texts, np.int64).reshape(len(texts), len(boxes)),
        lists,
        np.array(kinds, np.int64),
        np.array(column, np.int64),
        pack_texts(columns),
        pack_texts(words),
        (fixed, head, tail),
        boxes.n * (len(head) + len(tail) + 64) + len(boxes) * box_bytes,
    )
    encoded = data.tobytes()
    return [RawBSONDocument(encoded[start:end]) for start, end in pairwise(starts.tolist())]


def empty_label_field(fingerprint: str) -> dict[str, Any]:
    """Return a label field without boxes: the member ran, and detected no objects."""
    return {"_cls": "Detections", "detections": [], FINGERPRINT: fingerprint}


def _values(column: Numbers | Words | Lists) -> list[Any]:
    """Return a column as Python values, None if absent."""
    if isinstance(column, Words):
        return [column.words[i] if i >= 0 else None for i in column.ids.tolist()]
    if isinstance(column, Lists):
        return [[column.words[i] for i in np.flatnonzero(row).tolist()] for row in column.has]
    python = {"double": float, "int": int, "bool": bool}[column.kind]
    values = np.asarray(column.values).tolist()
    return [None if value != value else python(value) for value in values]


def _inner(content: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the bytes of a document without its size and terminator."""
    return np.frombuffer(bson.encode(content)[4:-1], np.uint8)
