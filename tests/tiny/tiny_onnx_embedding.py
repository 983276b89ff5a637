"""A tiny random ONNX network: one convolution and its mean."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx_protobuf as onnx
from tiny_case import Case

SIZE, DIMENSIONS, STRIDE = 32, 16, 8


def kernel() -> np.ndarray:
    """Return the weights of the convolution, shape (D, 3, 8, 8)."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(DIMENSIONS, 3, STRIDE, STRIDE)) / STRIDE).astype(np.float32)


def write(folder: Path, *, images: int | str = "N", kind: int = onnx.FLOAT) -> Path:
    """Write `model.onnx`, with the outputs `map` and `vector`, and return it.

    Args:
        folder: Where.
        images: How many it takes at a time; a name for any number.
        kind: Of its numbers.
    """
    weights = kernel().astype(np.float32 if kind == onnx.FLOAT else np.float16)
    nodes = [
        onnx.node("Conv", ["image", "kernel"], ["conv"], strides=[STRIDE, STRIDE]),
        onnx.node("Relu", ["conv"], ["map"]),
        onnx.node("GlobalAveragePool", ["map"], ["mean"]),
        onnx.node("Flatten", ["mean"], ["vector"], axis=1),
    ]
    cells = SIZE // STRIDE
    content = onnx.model(
        nodes,
        {"kernel": weights},
        inputs={"image": (kind, (images, 3, SIZE, SIZE))},
        outputs={
            "map": (kind, (images, DIMENSIONS, cells, cells)),
            "vector": (kind, (images, DIMENSIONS)),
        },
    )
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


_PARAMS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "output": "vector", "threads": 1}
CASES = {
    "onnx_embedding": Case(adapter="onnx_embedding", write=write, params=_PARAMS),
    "onnx_embedding_two_by_two": Case(
        adapter="onnx_embedding", write=partial(write, images=2), params=_PARAMS
    ),
}
