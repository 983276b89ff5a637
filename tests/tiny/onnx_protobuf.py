"""Writer of small ONNX networks that does not need the package `onnx`.

- [0] https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 (the field numbers)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

FLOAT, INT64, FLOAT16 = 1, 7, 10
Value = tuple[int, Sequence[int | str]]  # data type, and a shape with named axes
_IR, _OPERATORS = 8, 13  # versions
_KINDS = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64, np.dtype(np.float16): FLOAT16}
_INT, _INTS = 2, 7


def model(
    nodes: Sequence[bytes],
    constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, Value],
    outputs: Mapping[str, Value],
) -> bytes:
    """Return the content of an .onnx file.

    Args:
        nodes: Results of `node`, in the order of computation.
        constants: Weights by name.
        inputs: Data type and shape of each input.
        outputs: Data type and shape of each output.
    """
    graph = [_field(1, operator) for operator in nodes]
    graph.append(_field(2, b"tiny"))
    graph += [_field(5, _tensor(name, array)) for name, array in constants.items()]
    graph += [_field(11, _value(name, *value)) for name, value in inputs.items()]
    graph += [_field(12, _value(name, *value)) for name, value in outputs.items()]
    return _field(1, _IR) + _field(7, b"".join(graph)) + _field(8, _field(2, _OPERATORS))


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | Sequence[int]
) -> bytes:
    """Return one operator, with integers or lists of integers as attributes."""
    parts = [_field(1, name.encode()) for name in inputs]
    parts += [_field(2, name.encode()) for name in outputs]
    parts.append(_field(4, kind.encode()))
    for name, value in attributes.items():
        if isinstance(value, int):
            encoded = _field(3, value) + _field(20, _INT)
        else:
            encoded = b"".join(_field(8, number) for number in value) + _field(20, _INTS)
        parts.append(_field(5, _field(1, name.encode()) + encoded))
    return b"".join(parts)


def _tensor(name: str, array: np.ndarray) -> bytes:
    shape = b"".join(_field(1, side) for side in array.shape)
    kind = _field(2, _KINDS[array.dtype])
    return shape + kind + _field(8, name.encode()) + _field(9, array.tobytes())


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    axes = (
        _field(1, axis) if isinstance(axis, int) else _field(2, axis.encode()) for axis in shape
    )
    tensor = _field(1, kind) + _field(2, b"".join(_field(1, axis) for axis in axes))
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return bytes(_varint(number << 3)) + bytes(_varint(value))
    return bytes(_varint(number << 3 | 2)) + bytes(_varint(len(value))) + value


def _varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
