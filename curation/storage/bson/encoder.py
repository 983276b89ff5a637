"""BSON [0] encoder for label fields that creates no Python object per box.

The output equals `bson.encode` of the same documents to the byte; see `box_documents` for the
columns and the documents.

- [0] https://bsonspec.org/spec.html
"""

from __future__ import annotations

import os
import time

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import ByteArray, Float64Array, Int64Array
from cascade.runtime.jit import jit_compile

DOUBLE, INT, BOOL, TEXT, TEXTS, BOX = range(6)  # kinds of columns


def new_object_ids(n: int) -> ByteArray:
    """Return new ObjectIds, shape (n, 12); n is at most 2**24.

    As in MongoDB drivers: the time in seconds, five random bytes, and a counter.
    """
    ids = np.empty((n, 12), np.uint8)
    ids[:, :4] = np.frombuffer(int(time.time()).to_bytes(4, "big"), np.uint8)
    ids[:, 4:9] = np.frombuffer(os.urandom(5), np.uint8)
    ids[:, 9:] = np.arange(n, dtype=">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    return ids


@jit_compile
def encode(
    owner_starts: Int64Array,
    ids: ByteArray,
    boxes_xywh: Float64Array,
    numbers: Float64Array,
    texts: Int64Array,
    lists: NDArray[np.bool_],
    kinds: Int64Array,
    column: Int64Array,
    names: tuple[ByteArray, Int64Array],
    words: tuple[ByteArray, Int64Array],
    fixed: tuple[ByteArray, ByteArray, ByteArray],
    size: int,
) -> tuple[ByteArray, Int64Array]:
    """Return the label fields as one array of bytes, and the start of each with the last end.

    Args:
        owner_starts: First box of each field, and the number of boxes, shape (n + 1,).
        ids: ObjectIds of the boxes, shape (V, 12).
        boxes_xywh: Relative corner and size, shape (V, 4).
        numbers: Columns of numbers, shape (A, V); NaN if absent.
        texts: Columns of indexes into `words`, shape (T, V); -1 if absent.
        lists: Mask over the last W of `words`: the list of each box, shape (V, W).
        kinds: Kind of each attribute, in order.
        column: Index of each attribute in `numbers` or `texts`.
        names: Attribute names, from `pack_texts`.
        words: Words, from `pack_texts`.
        fixed: Constant elements: of a box before its attributes, of a field before its boxes,
            and of a field after its boxes.
        size: Upper bound of the size of the output in bytes.
    """
    out, at = np.empty(size, np.uint8), 0
    starts = np.empty(len(owner_starts), np.int64)
    in_box, before, after = fixed
    first_of_list = len(words[1]) - 1 - lists.shape[1]
    for i in range(len(owner_starts) - 1):
        starts[i] = at
        field_at, at = at, _put(out, at + 4, before, 0, len(before))
        at = _put_name(out, at, 4, _DETECTIONS, 0, len(_DETECTIONS))
        array_at, at = at, at + 4
        for row in range(owner_starts[i], owner_starts[i + 1]):
            at = _put_index(out, at, 3, row - owner_starts[i])
            box_at, at = at, at + 4
            at = _put_name(out, at, 7, _ID, 0, len(_ID))
            at = _put(out, at, ids[row], 0, 12)
            at = _put(out, at, in_box, 0, len(in_box))
            for k in range(len(kinds)):
                start, stop = names[1][k], names[1][k + 1]
                if kinds[k] == BOX:
                    at = _put_name(out, at, 4, names[0], start, stop)
                    at = _put_four(out, at, boxes_xywh[row])
                elif kinds[k] == TEXT:
                    word = texts[column[k], row]
                    if word >= 0:
                        at = _put_name(out, at, 2, names[0], start, stop)
                        at = _put_text(out, at, words[0], words[1][word], words[1][word + 1])
                elif kinds[k] == TEXTS:
                    at = _put_name(out, at, 4, names[0], start, stop)
                    at = _put_list(out, at, lists[row], words, first_of_list)
                elif not np.isnan(numbers[column[k], row]):
                    at = _put_number(
                        out, at, kinds[k], numbers[column[k], row], names[0], start, stop
                    )
            at = _close(out, box_at, at)
        at = _close(out, array_at, at)
        at = _close(out, field_at, _put(out, at, after, 0, len(after)))
    starts[-1] = at
    return out[:at], starts


_ID = np.frombuffer(b"_id", np.uint8)
_DETECTIONS = np.frombuffer(b"detections", np.uint8)


@jit_compile
def _put_number(
    out: ByteArray, at: int, kind: int, value: float, names: ByteArray, start: int, stop: int
) -> int:
    if kind == DOUBLE:
        return _put_double(out, _put_name(out, at, 1, names, start, stop), value)
    if kind == INT:
        return _put_int32(out, _put_name(out, at, 16, names, start, stop), int(value))
    at = _put_name(out, at, 8, names, start, stop)
    out[at] = value != 0
    return at + 1


@jit_compile
def _put_four(out: ByteArray, at: int, values: Float64Array) -> int:
    start, at = at, at + 4
    for i in range(4):
        at = _put_double(out, _put_index(out, at, 1, i), values[i])
    return _close(out, start, at)


@jit_compile
def _put_list(
    out: ByteArray, at: int, has: NDArray[np.bool_], words: tuple[ByteArray, Int64Array], first: int
) -> int:
    start, at, n = at, at + 4, 0
    for i in range(len(has)):
        if has[i]:
            at = _put_index(out, at, 2, n)
            at = _put_text(out, at, words[0], words[1][first + i], words[1][first + i + 1])
            n += 1
    return _close(out, start, at)


@jit_compile
def _put_text(out: ByteArray, at: int, words: ByteArray, start: int, stop: int) -> int:
    at = _put(out, _put_int32(out, at, stop - start + 1), words, start, stop)
    out[at] = 0
    return at + 1


@jit_compile
def _put_name(out: ByteArray, at: int, kind: int, names: ByteArray, start: int, stop: int) -> int:
    """Write the kind and the name of an element."""
    out[at] = kind
    at = _put(out, at + 1, names, start, stop)
    out[at] = 0
    return at + 1


@jit_compile
def _put_index(out: ByteArray, at: int, kind: int, index: int) -> int:
    """Write the kind and the name of an array element; the name is its index in decimal."""
    out[at] = kind
    digits = 1
    while 10**digits <= index:
        digits += 1
    for i in range(digits):
        out[at + digits - i] = 48 + index // 10**i % 10
    out[at + digits + 1] = 0
    return at + digits + 2


@jit_compile
def _close(out: ByteArray, start: int, at: int) -> int:
    """Write the terminator of a document, and its size at its start."""
    out[at] = 0
    _put_int32(out, start, at + 1 - start)
    return at + 1


@jit_compile
def _put_double(out: ByteArray, at: int, value: float) -> int:
    out[at : at + 8].view(np.float64)[0] = value
    return at + 8


@jit_compile
def _put_int32(out: ByteArray, at: int, value: int) -> int:
    for i in range(4):
        out[at + i] = value >> 8 * i & 255
    return at + 4


@jit_compile
def _put(out: ByteArray, at: int, data: ByteArray, start: int, stop: int) -> int:
    for i in range(start, stop):
        out[at + i - start] = data[i]
    return at + stop - start
