"""Tiny random ONNX detectors, one per layout.

Each is one convolution per stride: a cell depends on its own pixels only.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from onnx_protobuf import FLOAT, INT64, Value, model, node
from tiny_case import Case

CLASSES = ("cone", "drum", "sign")
SIZE = 64


def write(folder: Path, *, layout: str, images: int | str = "N", classes: int = 3) -> Path:
    """Write `model.onnx` and return it.

    Args:
        folder: Destination.
        layout: Layout; see `cascade.models.exported.layouts`.
        images: Batch size; a name for any number.
        classes: Number of classes.
    """
    path = folder / "model.onnx"
    nodes, constants, inputs, outputs = _LAYOUTS[layout](images, classes)
    path.write_bytes(model(nodes, constants, inputs, outputs))
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

Network = tuple[list[bytes], dict[str, np.ndarray], dict[str, Value], dict[str, Value]]


def _yolo(images: int | str, classes: int) -> Network:
    channels, cells = 4 + classes, (SIZE // 8) ** 2
    scale = np.ones((1, channels, 1), np.float32)
    scale[:, :2], scale[:, 2:4] = SIZE, SIZE / 3
    constants = {**_kernel(8, channels), "flat": np.array([0, channels, -1]), "scale": scale}
    nodes = [
        *_cells(8),
        node("Sigmoid", ["cells_8"], ["shares"]),
        node("Mul", ["shares", "scale"], ["output0"]),
    ]
    return nodes, constants, _pixels(images), {"output0": (FLOAT, (images, channels, cells))}


def _yolox(images: int | str, classes: int) -> Network:
    channels = 5 + classes
    constants: dict[str, np.ndarray] = {"flat": np.array([0, channels, -1])}
    nodes = []
    for stride in (8, 16, 32):
        constants |= _kernel(stride, channels, white=255)
        nodes += _cells(stride)
    nodes += [
        node("Concat", ["cells_8", "cells_16", "cells_32"], ["cells"], axis=2),
        node("Sigmoid", ["cells"], ["shares"]),
        node("Transpose", ["shares"], ["output"], perm=[0, 2, 1]),
    ]
    cells = sum((SIZE // stride) ** 2 for stride in (8, 16, 32))
    return nodes, constants, _pixels(images), {"output": (FLOAT, (images, cells, channels))}


def _deimv2(images: int | str, classes: int) -> Network:
    channels = 4 + classes
    corners = np.array(  # from center and sides, which are one third
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
        node("Sigmoid", ["cells_16"], ["shares"]),
        node("Transpose", ["shares"], ["rows"], perm=[0, 2, 1]),
        node("Split", ["rows", "parts"], ["centers", "classes"], axis=2),
        node("ReduceMax", ["classes"], ["scores"], axes=[2], keepdims=0),
        node("ArgMax", ["classes"], ["labels"], axis=2, keepdims=0),
        node("MatMul", ["centers", "corners"], ["relative"]),
        node("Cast", ["orig_target_sizes"], ["sides"], to=FLOAT),
        node("Concat", ["sides", "sides"], ["sides_twice"], axis=1),
        node("Unsqueeze", ["sides_twice", "middle"], ["factors"]),
        node("Mul", ["relative", "factors"], ["boxes"]),
    ]
    inputs = {**_pixels(images), "orig_target_sizes": (INT64, (images, 2))}
    outputs = {
        "labels": (INT64, (images, "Q")),
        "boxes": (FLOAT, (images, "Q", 4)),
        "scores": (FLOAT, (images, "Q")),
    }
    return nodes, constants, inputs, outputs


_LAYOUTS = {"deimv2": _deimv2, "yolox": _yolox, "yolo": _yolo}


def _pixels(images: int | str) -> dict[str, Value]:
    return {"images": (FLOAT, (images, 3, SIZE, SIZE))}


def _kernel(stride: int, channels: int, *, white: int = 1) -> dict[str, np.ndarray]:
    """Return weights with spread outputs for pixels from 0 to `white`."""
    rng = np.random.default_rng(stride)
    kernel = rng.normal(size=(channels, 3, stride, stride)) / (stride * white)
    return {f"kernel_{stride}": kernel.astype(np.float32)}


def _cells(stride: int) -> list[bytes]:
    return [
        node("Conv", ["images", f"kernel_{stride}"], [f"map_{stride}"], strides=[stride] * 2),
        node("Reshape", [f"map_{stride}", "flat"], [f"cells_{stride}"]),
    ]
