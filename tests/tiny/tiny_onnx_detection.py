"""Tiny random ONNX detectors, one a layout, written as protobuf by hand: `onnx` is not needed.

Each is one convolution a stride, so a cell sees its own pixels only.

- [0] https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 (the field numbers)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tiny_case import Case

CLASSES = ("cone", "drum", "sign")
SIZE = 64
_FLOAT, _INT64 = 1, 7
_INT, _INTS = 2, 7

Shape = Sequence[int | str]


def write(folder: Path, *, layout: str, images: int | str = "N", classes: int = 3) -> Path:
    """Write `model.onnx` and return it.

    Args:
        folder: Where.
        layout: See `cascade.models.exported.onnx_detection`.
        images: How many it takes at a time; a name for any number.
        classes: How many it tells apart.
    """
    path = folder / "model.onnx"
    nodes, constants, inputs, outputs = _LAYOUTS[layout](images, classes)
    path.write_bytes(_model(nodes, constants, inputs, outputs))
    return path


_PARAMS = {"classes": CLASSES, "threads": 1}
CASES = {
    f"onnx_{layout}{'_one_by_one' if images == 1 else ''}": Case(
        adapter="onnx_detection",
        write=partial(write, layout=layout, images=images),
        params={"layout": layout, **_PARAMS},
    )
    for layout, images in [("deimv2", "N"), ("yolox", "N"), ("yolox", 1), ("yolo", "N")]
}


# --- three networks ----------------------------------------------------------------------------

Network = tuple[list[bytes], dict[str, np.ndarray], dict[str, tuple], dict[str, tuple]]


def _yolo(images: int | str, classes: int) -> Network:
    channels, cells = 4 + classes, (SIZE // 8) ** 2
    scale = np.ones((1, channels, 1), np.float32)
    scale[:, :2], scale[:, 2:4] = SIZE, SIZE / 3
    constants = {**_kernel(8, channels), "flat": np.array([0, channels, -1]), "scale": scale}
    nodes = [
        *_cells(8),
        _node("Sigmoid", ["cells_8"], ["shares"]),
        _node("Mul", ["shares", "scale"], ["output0"]),
    ]
    return nodes, constants, _pixels(images), {"output0": (_FLOAT, (images, channels, cells))}


def _yolox(images: int | str, classes: int) -> Network:
    channels = 5 + classes
    constants: dict[str, np.ndarray] = {"flat": np.array([0, channels, -1])}
    nodes = []
    for stride in (8, 16, 32):
        constants |= _kernel(stride, channels, white=255)
        nodes += _cells(stride)
    nodes += [
        _node("Concat", ["cells_8", "cells_16", "cells_32"], ["cells"], axis=2),
        _node("Sigmoid", ["cells"], ["shares"]),
        _node("Transpose", ["shares"], ["output"], perm=[0, 2, 1]),
    ]
    cells = sum((SIZE // stride) ** 2 for stride in (8, 16, 32))
    return nodes, constants, _pixels(images), {"output": (_FLOAT, (images, cells, channels))}


def _deimv2(images: int | str, classes: int) -> Network:
    channels = 4 + classes
    corners = np.array(  # of centre and sides, the sides being a third
        [[1, 0, 1, 0], [0, 1, 0, 1], [-1 / 6, 0, 1 / 6, 0], [0, -1 / 6, 0, 1 / 6]], np.float32
    )
    constants = {
        **_kernel(16, channels),
        "flat": np.array([0, channels, -1]),
        "corners": corners,
        "parts": np.array([4, classes]),
        "middle": np.array([1]),
    }
    nodes = [
        *_cells(16),
        _node("Sigmoid", ["cells_16"], ["shares"]),
        _node("Transpose", ["shares"], ["rows"], perm=[0, 2, 1]),
        _node("Split", ["rows", "parts"], ["centres", "classes"], axis=2),
        _node("ReduceMax", ["classes"], ["scores"], axes=[2], keepdims=0),
        _node("ArgMax", ["classes"], ["labels"], axis=2, keepdims=0),
        _node("MatMul", ["centres", "corners"], ["relative"]),
        _node("Cast", ["orig_target_sizes"], ["sides"], to=_FLOAT),
        _node("Concat", ["sides", "sides"], ["sides_twice"], axis=1),
        _node("Unsqueeze", ["sides_twice", "middle"], ["factors"]),
        _node("Mul", ["relative", "factors"], ["boxes"]),
    ]
    inputs = {**_pixels(images), "orig_target_sizes": (_INT64, (images, 2))}
    outputs = {
        "labels": (_INT64, (images, "Q")),
        "boxes": (_FLOAT, (images, "Q", 4)),
        "scores": (_FLOAT, (images, "Q")),
    }
    return nodes, constants, inputs, outputs


_LAYOUTS = {"deimv2": _deimv2, "yolox": _yolox, "yolo": _yolo}


def _pixels(images: int | str) -> dict[str, tuple[int, Shape]]:
    return {"images": (_FLOAT, (images, 3, SIZE, SIZE))}


def _kernel(stride: int, channels: int, *, white: int = 1) -> dict[str, np.ndarray]:
    """Return weights whose answers spread, for pixels from 0 to `white`."""
    rng = np.random.default_rng(stride)
    kernel = rng.normal(size=(channels, 3, stride, stride)) / (stride * white)
    return {f"kernel_{stride}": kernel.astype(np.float32)}


def _cells(stride: int) -> list[bytes]:
    return [
        _node("Conv", ["images", f"kernel_{stride}"], [f"map_{stride}"], strides=[stride] * 2),
        _node("Reshape", [f"map_{stride}", "flat"], [f"cells_{stride}"]),
    ]


# --- protobuf ----------------------------------------------------------------------------------


def _model(
    nodes: list[bytes],
    constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, tuple[int, Shape]],
) -> bytes:
    graph = b"".join(
        [
            *(_field(1, one) for one in nodes),
            _field(2, b"tiny"),
            *(_field(5, _tensor(name, one)) for name, one in constants.items()),
            *(_field(11, _value(name, *one)) for name, one in inputs.items()),
            *(_field(12, _value(name, *one)) for name, one in outputs.items()),
        ]
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))  # ir 8, operators 13


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: int | list[int]) -> bytes:
    parts = [_field(1, one.encode()) for one in inputs]
    parts += [_field(2, one.encode()) for one in outputs]
    parts.append(_field(4, kind.encode()))
    for name, value in attributes.items():
        told = (
            _field(3, value) + _field(20, _INT)
            if isinstance(value, int)
            else b"".join(_field(8, one) for one in value) + _field(20, _INTS)
        )
        parts.append(_field(5, _field(1, name.encode()) + told))
    return b"".join(parts)


def _tensor(name: str, array: np.ndarray) -> bytes:
    kind = _INT64 if array.dtype == np.int64 else _FLOAT
    shape = b"".join(_field(1, one) for one in array.shape)
    return shape + _field(2, kind) + _field(8, name.encode()) + _field(9, array.tobytes())


def _value(name: str, kind: int, shape: Shape) -> bytes:
    axes = b"".join(
        _field(1, _field(1, one) if isinstance(one, int) else _field(2, one.encode()))
        for one in shape
    )
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, kind) + _field(2, axes)))


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return bytes(_varint(number << 3)) + bytes(_varint(value))
    return bytes(_varint(number << 3 | 2)) + bytes(_varint(len(value))) + value


def _varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
