"""Parser for the boxes in raw BSON [0] documents that creates no Python object per box.

The functions read the `_id` of a document, its label fields, the boxes in `detections`, and the
label, corners and some numbers of a box. Everything else is skipped by its length. A null label
field counts as absent.

- [0] https://bsonspec.org/spec.html
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cascade.arrays import ByteArray, Float64Array, Int64Array
from cascade.runtime.jit import jit_compile

BAD, TOO_MANY_LABELS = -1, -2  # error codes in place of a number
_DOUBLE, _STRING, _DOCUMENT, _ARRAY, _OBJECT_ID, _PATTERN = 1, 2, 3, 4, 7, 11
_INT32, _INT64 = 16, 18
_FNV_START, _FNV_PRIME = 14695981039346656037, 1099511628211  # the hash FNV-1a


def pack_texts(texts: Iterable[str]) -> tuple[ByteArray, Int64Array]:
    """Return texts as one array of UTF-8 bytes, and the start of each with the last end."""
    encoded = [text.encode() for text in texts]
    bounds = np.cumsum([0, *(len(data) for data in encoded)])
    return np.frombuffer(b"".join(encoded), np.uint8), bounds.astype(np.int64)


_NAMES, _ENDS = pack_texts(["_id", "detections", "label", "bounding_box"])
_ID, _DETECTIONS, _LABEL, _BOX = range(4)


def _sizes(size_of_kind: dict[int, int]) -> Int64Array:
    """Return the size of every kind of value, -1 for kinds that are not in the mapping."""
    sizes = np.full(256, BAD)
    sizes[list(size_of_kind)] = list(size_of_kind.values())
    return sizes


# Bytes of a value of fixed size; and bytes in addition to the size that starts a value.
_FIXED = _sizes({1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0})
_EXTRA = _sizes({2: 4, 3: 0, 4: 0, 5: 5, 12: 16, 13: 4, 14: 4, 15: 0})


@jit_compile
def document_starts(data: ByteArray) -> Int64Array:
    """Return the start of each document and the end of the last; a single -1 if damaged."""
    number, at = 0, 0
    while at < len(data):
        size = _int32(data, at)
        if size < 5 or at + size > len(data):
            return np.full(1, BAD)
        at += size
        number += 1
    starts = np.empty(number + 1, np.int64)
    at = 0
    for i in range(number):
        starts[i] = at
        at += _int32(data, at)
    starts[number] = at
    return starts


@jit_compile
def count_boxes(
    data: ByteArray, starts: Int64Array, names: ByteArray, name_ends: Int64Array
) -> tuple[ByteArray, Int64Array]:
    """Count the boxes in the N documents of a batch, for M label fields.

    Args:
        data: The batch.
        starts: Result of `document_starts`.
        names: Label fields, from `pack_texts`.
        name_ends: Their bounds, from `pack_texts`.

    Returns:
        The `_id` of each document, shape (N, 12), and the number of boxes in each label field,
        shape (N, M), -1 for an absent field. Shape (0, M) if the data is damaged.
    """
    n, m = len(starts) - 1, len(name_ends) - 1
    ids, boxes = np.zeros((n, 12), np.uint8), np.full((n, m), -1)
    for i in range(n):
        at, end = starts[i] + 4, starts[i + 1] - 1
        while at < end:
            kind, name = data[at], at + 1
            value = _after_text(data, name)
            after = _after(data, value, kind)
            if after <= at or after > end:
                return ids[:0], boxes[:0]
            if kind == _OBJECT_ID and _is(data, name, value - 1, _ID):
                ids[i] = data[value : value + 12]
            elif kind == _DOCUMENT:
                column = _find(data, name, value - 1, names, name_ends)
                if column >= 0:
                    boxes[i, column] = _count_boxes(data, value)
            at = after
    return ids, boxes


@jit_compile
def fill_boxes(
    data: ByteArray,
    starts: Int64Array,
    names: tuple[ByteArray, Int64Array],
    attributes: tuple[ByteArray, Int64Array],
    first_rows: Int64Array,
    label_id: Int64Array,
    numbers: Float64Array,
    boxes_xywh: Float64Array,
    first_label: int,
    max_labels: int,
) -> Int64Array:
    """Fill in the boxes of a batch; V is the number of boxes in all batches, A of attributes.

    Args:
        data: The batch.
        starts: Result of `document_starts`.
        names: Label fields, from `pack_texts`.
        attributes: Numbers to read, from `pack_texts`.
        first_rows: Row of the first box of each label field, shape (N, M).
        label_id: Output, shape (V,): `first_label` plus an index into the result; -1 without a
            label.
        numbers: Output, shape (V, A), NaN if absent.
        boxes_xywh: Output, shape (V, 4), NaN unless a box has four numbers.
        first_label: Number of labels of earlier batches.
        max_labels: Capacity for distinct labels; a power of 2.

    Returns:
        Start in `data` and length of each distinct label, shape (labels, 2); one row of
        `TOO_MANY_LABELS` if there are more than `max_labels`.
    """
    table = np.full(2 * max_labels, -1)  # open addressing: an index into `labels`, or -1
    labels = np.empty((max_labels, 2), np.int64)
    n_labels = 0
    for i in range(len(starts) - 1):
        at, end = starts[i] + 4, starts[i + 1] - 1
        while at < end:
            kind, name = data[at], at + 1
            value = _after_text(data, name)
            after = _after(data, value, kind)
            column = -1
            if kind == _DOCUMENT:
                column = _find(data, name, value - 1, names[0], names[1])
            if column >= 0:
                row = first_rows[i, column]
                box, last = _first_box(data, value)
                while box < last:
                    content = _after_text(data, box + 1)
                    if data[box] == _DOCUMENT:
                        n_labels = _read_box(
                            data, content, attributes, row, label_id, numbers, boxes_xywh,
                            table, labels, n_labels, first_label,
                        )  # fmt: skip
                        if n_labels < 0:
                            return np.full((1, 2), TOO_MANY_LABELS)
                        row += 1
                    box = _after(data, content, data[box])
            at = after
    return labels[:n_labels].copy()


@jit_compile
def _read_box(
    data: ByteArray,
    start: int,
    attributes: tuple[ByteArray, Int64Array],
    row: int,
    label_id: Int64Array,
    numbers: Float64Array,
    boxes_xywh: Float64Array,
    table: Int64Array,
    labels: Int64Array,
    n_labels: int,
    first_label: int,
) -> int:
    """Fill in one box; return the new number of labels, or `TOO_MANY_LABELS`."""
    at, end = start + 4, start + _int32(data, start) - 1
    label_id[row] = -1
    numbers[row] = np.nan
    boxes_xywh[row] = np.nan
    while at < end:
        kind, name = data[at], at + 1
        value = _after_text(data, name)
        if kind == _STRING and _is(data, name, value - 1, _LABEL):
            size = _int32(data, value) - 1
            label = _intern(data, value + 4, size, table, labels, n_labels)
            if label < 0:
                return TOO_MANY_LABELS
            label_id[row] = first_label + label
            n_labels = max(n_labels, label + 1)
        elif kind == _ARRAY and _is(data, name, value - 1, _BOX):
            _four(data, value, boxes_xywh[row])
        else:
            column = _find(data, name, value - 1, attributes[0], attributes[1])
            if column >= 0:
                numbers[row, column] = _number(data, value, kind)
        at = _after(data, value, kind)
    return n_labels


@jit_compile
def _intern(
    data: ByteArray, start: int, size: int, table: Int64Array, labels: Int64Array, n: int
) -> int:
    """Return the index of a label, `n` for a new label; -1 if the table is full."""
    code = np.uint64(_FNV_START)
    for i in range(start, start + size):
        code = (code ^ np.uint64(data[i])) * np.uint64(_FNV_PRIME)
    slot = np.int64(code & np.uint64(len(table) - 1))
    while table[slot] >= 0:
        index = table[slot]
        if labels[index, 1] == size and _same(data, labels[index, 0], data, start, size):
            return index
        slot = (slot + 1) & (len(table) - 1)
    if n == len(labels):
        return -1
    table[slot] = n
    labels[n, 0], labels[n, 1] = start, size
    return n


@jit_compile
def _four(data: ByteArray, start: int, into: Float64Array) -> None:
    """Fill in the four numbers of an array, NaN unless there are exactly four."""
    at, end = start + 4, start + _int32(data, start) - 1
    n = 0
    while at < end:
        value = _after_text(data, at + 1)
        if n < 4:
            into[n] = _number(data, value, data[at])
        n += 1
        at = _after(data, value, data[at])
    if n != 4:
        into[:] = np.nan


@jit_compile
def _count_boxes(data: ByteArray, start: int) -> int:
    box, last = _first_box(data, start)
    n = 0
    while box < last:
        n += data[box] == _DOCUMENT
        box = _after(data, _after_text(data, box + 1), data[box])
    return n


@jit_compile
def _first_box(data: ByteArray, start: int) -> tuple[int, int]:
    """Return the start of the first element of `detections`, and the end of the last."""
    at, end = start + 4, start + _int32(data, start) - 1
    while at < end:
        kind, name = data[at], at + 1
        value = _after_text(data, name)
        if kind == _ARRAY and _is(data, name, value - 1, _DETECTIONS):
            return value + 4, value + _int32(data, value) - 1
        at = _after(data, value, kind)
    return 0, 0


@jit_compile
def _number(data: ByteArray, at: int, kind: int) -> float:
    """Return a double or an integer, NaN for other types."""
    if kind == _DOUBLE:
        return data[at : at + 8].view(np.float64)[0]
    if kind == _INT32:
        return float(_int32(data, at))
    if kind == _INT64:
        return float(data[at : at + 8].view(np.int64)[0])
    return np.nan


@jit_compile
def _after(data: ByteArray, at: int, kind: int) -> int:
    """Return the end of a value; -1 for a kind that BSON does not have."""
    if _FIXED[kind] >= 0:
        return at + _FIXED[kind]
    if _EXTRA[kind] >= 0:
        return at + _EXTRA[kind] + _int32(data, at)
    if kind == _PATTERN:  # two texts
        return _after_text(data, _after_text(data, at))
    return BAD


@jit_compile
def _find(data: ByteArray, start: int, end: int, words: ByteArray, ends: Int64Array) -> int:
    """Return the index of the word that equals the bytes, -1 if none."""
    for k in range(len(ends) - 1):
        size = ends[k + 1] - ends[k]
        if size == end - start and _same(data, start, words, ends[k], size):
            return k
    return -1


@jit_compile
def _is(data: ByteArray, start: int, end: int, name: int) -> bool:
    """Return whether the bytes equal a name of `_NAMES`, by its index."""
    size = _ENDS[name + 1] - _ENDS[name]
    return end - start == size and _same(data, start, _NAMES, _ENDS[name], size)


@jit_compile
def _same(data: ByteArray, at: int, other: ByteArray, at_other: int, size: int) -> bool:
    i = 0
    while i < size and data[at + i] == other[at_other + i]:
        i += 1
    return i == size


@jit_compile
def _after_text(data: ByteArray, at: int) -> int:
    while data[at] != 0:
        at += 1
    return at + 1


@jit_compile
def _int32(data: ByteArray, at: int) -> int:
    return (
        int(data[at]) | int(data[at + 1]) << 8 | int(data[at + 2]) << 16 | int(data[at + 3]) << 24
    )
