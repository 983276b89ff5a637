"""Boxes out of raw documents, as the database sends them, without an object for any of them.

The functions walk BSON [0] bytes and fill arrays. They know four things: the `_id` of a
document, its label fields, the boxes in `detections`, and of a box its label, its corners and
some numbers. All else is skipped by its length. A label field that is null is not there.

- [0] https://bsonspec.org/spec.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade.arrays import ByteArray, Float64Array, Int64Array
from cascade.runtime.jit import jit_compile

BAD, TOO_MANY_LABELS = -1, -2  # what stands in place of a number when there is none
_DOUBLE, _STRING, _DOCUMENT, _ARRAY, _OBJECT_ID, _PATTERN = 1, 2, 3, 4, 7, 11
_INT32, _INT64 = 16, 18
_FNV_START, _FNV_PRIME = 14695981039346656037, 1099511628211  # of the hash FNV-1a


def joined(words: Any) -> tuple[ByteArray, Int64Array]:
    """Return texts as one array of UTF-8 bytes, and where each starts and the last ends."""
    encoded = [str(one).encode() for one in words]
    ends = np.cumsum([0, *(len(one) for one in encoded)])
    return np.frombuffer(b"".join(encoded), np.uint8), ends.astype(np.int64)


_NAMES, _ENDS = joined(["_id", "detections", "label", "bounding_box"])
_ID, _DETECTIONS, _LABEL, _BOX = range(4)


def _sizes(of_kinds: dict[int, int]) -> Int64Array:
    """Return a size for each kind, -1 for the others."""
    sizes = np.full(256, BAD)
    sizes[list(of_kinds)] = list(of_kinds.values())
    return sizes


# What a value takes; and, of one that begins with a size, what it takes beside that.
_FIXED = _sizes({1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0})
_BESIDE = _sizes({2: 4, 3: 0, 4: 0, 5: 5, 12: 16, 13: 4, 14: 4, 15: 0})


@jit_compile
def documents(data: ByteArray) -> Int64Array:
    """Return where each document starts, and where the last one ends; a lone -1 if damaged."""
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
def count(
    data: ByteArray, starts: Int64Array, names: ByteArray, name_ends: Int64Array
) -> tuple[ByteArray, Int64Array]:
    """Return what the documents of a batch hold; N of them, M label fields.

    Args:
        data: The batch.
        starts: Of `documents`.
        names: The label fields, `joined`.
        name_ends: Likewise.

    Returns:
        The `_id` of each document, shape (N, 12), and how many boxes each label field holds,
        shape (N, M), -1 where there is none. Shape (0, M) if the data are damaged.
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
def fill(
    data: ByteArray,
    starts: Int64Array,
    names: tuple[ByteArray, Int64Array],
    attributes: tuple[ByteArray, Int64Array],
    places: Int64Array,
    label_id: Int64Array,
    numbers: Float64Array,
    boxes_xywh: Float64Array,
    first_label: int,
    most_labels: int,
) -> Int64Array:
    """Fill in the boxes of a batch; V is their number in all batches, A of attributes.

    Args:
        data: The batch.
        starts: Of `documents`.
        names: The label fields, `joined`.
        attributes: The numbers to read, `joined`.
        places: The row of the first box of each label field, shape (N, M).
        label_id: Filled with `first_label` + the index into the labels that are returned; -1
            without a label.
        numbers: Shape (V, A), filled; NaN where a box has none.
        boxes_xywh: Shape (V, 4), filled; NaN where a box has no four numbers.
        first_label: What the labels of this batch are counted from.
        most_labels: So many different labels are provided for; a power of 2.

    Returns:
        Where each new label starts in `data` and its length, shape (labels, 2); a row of
        `TOO_MANY_LABELS` when there are more than provided for.
    """
    table = np.full(2 * most_labels, -1)  # open addressing: an index into `found`, or -1
    found = np.empty((most_labels, 2), np.int64)
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
                row = places[i, column]
                box, last = _first_box(data, value)
                while box < last:
                    content = _after_text(data, box + 1)
                    if data[box] == _DOCUMENT:
                        n_labels = _read_box(
                            data, content, attributes, row, label_id, numbers, boxes_xywh,
                            table, found, n_labels, first_label,
                        )  # fmt: skip
                        if n_labels < 0:
                            return np.full((1, 2), TOO_MANY_LABELS)
                        row += 1
                    box = _after(data, content, data[box])
            at = after
    return found[:n_labels].copy()


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
    found: Int64Array,
    n_labels: int,
    first_label: int,
) -> int:
    """Fill in one box; return how many labels are known now, `TOO_MANY_LABELS` if too many."""
    at, end = start + 4, start + _int32(data, start) - 1
    label_id[row] = -1
    numbers[row] = np.nan
    boxes_xywh[row] = np.nan
    while at < end:
        kind, name = data[at], at + 1
        value = _after_text(data, name)
        if kind == _STRING and _is(data, name, value - 1, _LABEL):
            size = _int32(data, value) - 1
            label = _intern(data, value + 4, size, table, found, n_labels)
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
    data: ByteArray, start: int, size: int, table: Int64Array, found: Int64Array, n: int
) -> int:
    """Return the index of a label, which is new when it equals `n`; -1 when there is no room."""
    code = np.uint64(_FNV_START)
    for i in range(start, start + size):
        code = (code ^ np.uint64(data[i])) * np.uint64(_FNV_PRIME)
    slot = np.int64(code & np.uint64(len(table) - 1))
    while table[slot] >= 0:
        known = table[slot]
        if found[known, 1] == size and _same(data, found[known, 0], data, start, size):
            return known
        slot = (slot + 1) & (len(table) - 1)
    if n == len(found):
        return -1
    table[slot] = n
    found[n, 0], found[n, 1] = start, size
    return n


@jit_compile
def _four(data: ByteArray, start: int, into: Float64Array) -> None:
    """Fill in the four numbers of an array, NaN unless there are just four."""
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
    """Return where the first element of `detections` starts, and where the last one ends."""
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
    """Return a double or an integer; NaN for all else."""
    if kind == _DOUBLE:
        return data[at : at + 8].view(np.float64)[0]
    if kind == _INT32:
        return float(_int32(data, at))
    if kind == _INT64:
        return float(data[at : at + 8].view(np.int64)[0])
    return np.nan


@jit_compile
def _after(data: ByteArray, at: int, kind: int) -> int:
    """Return where a value of a kind ends; -1 for a kind that BSON does not have."""
    if _FIXED[kind] >= 0:
        return at + _FIXED[kind]
    if _BESIDE[kind] >= 0:
        return at + _BESIDE[kind] + _int32(data, at)
    if kind == _PATTERN:  # two texts
        return _after_text(data, _after_text(data, at))
    return BAD


@jit_compile
def _find(data: ByteArray, start: int, end: int, words: ByteArray, ends: Int64Array) -> int:
    """Return which of the words the bytes are, -1 if none."""
    for k in range(len(ends) - 1):
        size = ends[k + 1] - ends[k]
        if size == end - start and _same(data, start, words, ends[k], size):
            return k
    return -1


@jit_compile
def _is(data: ByteArray, start: int, end: int, which: int) -> bool:
    """Return whether the bytes are one of the names that are known here."""
    size = _ENDS[which + 1] - _ENDS[which]
    return end - start == size and _same(data, start, _NAMES, _ENDS[which], size)


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
