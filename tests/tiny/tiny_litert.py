"""Tiny random TFLite detectors, of real numbers or quantised ones, made by LiteRT's own schema.

Each is one convolution a stride, so a cell sees its own pixels only. Needs the package
`ai_edge_litert` to be written, as to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tiny_case import Case

CLASSES = ("cone", "drum", "sign")
SIZE = 64
STRIDES = {"yolo": (8,), "yolox": (8, 16, 32)}
_FLOAT32, _INT32 = "FLOAT32", "INT32"
_TYPES: dict[str, type[np.generic]] = {"INT8": np.int8, "UINT8": np.uint8}
_SHARES = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0)}  # of numbers in [0, 1]
_SUMS = {"INT8": (1 / 16, 0), "UINT8": (1 / 16, 128)}  # of numbers in [-8, 8]


def kernel(stride: int, channels: int) -> np.ndarray:
    """Return weights whose answers spread, for pixels from 0 to 1: (channels, s, s, 3)."""
    rng = np.random.default_rng(stride)
    return (rng.normal(size=(channels, stride, stride, 3)) / stride).astype(np.float32)


def write(
    folder: Path,
    *,
    layout: str = "yolo",
    kind: str = _FLOAT32,
    channels_first: bool = False,
    shape: Sequence[int] | None = None,
    in_pixels: bool = False,
    outputs: int = 1,
    unknown_scale: bool = False,
) -> Path:
    """Write `model.tflite` and return it.

    Args:
        folder: Where.
        layout: Of `cascade.models.exported.layouts`; yolox takes bytes as they are.
        kind: Of its numbers: FLOAT32, INT8 or UINT8.
        channels_first: Whether it takes (1, 3, S, S) instead of (1, S, S, 3).
        shape: Of the image, another one.
        in_pixels: Whether boxes are in pixels; else relative to the view.
        outputs: How often it gives its answer.
        unknown_scale: Whether it leaves out what the whole numbers that it answers stand for.
    """
    graph = _Graph(kind)
    image = (1, 3, SIZE, SIZE) if channels_first else (1, SIZE, SIZE, 3)
    scale = 1.0 if layout == "yolo" else 1 / 255
    given = found = graph.tensor(shape or image, _SHARES.get(kind))
    if channels_first:
        found = graph.then("TRANSPOSE", [found, graph.axes(0, 2, 3, 1)], (1, SIZE, SIZE, 3))
    channels = (4 if layout == "yolo" else 5) + len(CLASSES)
    parts, total = [], 0
    for stride in STRIDES[layout]:
        side = SIZE // stride
        cells = graph.convolved(found, kernel(stride, channels) * scale, (1, side, side, channels))
        flat = graph.axes(1, -1, channels)
        parts.append(graph.then("RESHAPE", [cells, flat], (1, side**2, channels)))
        total += side**2
    (found, *rest) = parts
    if rest:
        found = graph.then("CONCATENATION", parts, (1, total, channels), axis=1)
    if layout == "yolo":
        found = graph.then("TRANSPOSE", [found, graph.axes(0, 2, 1)], (1, channels, total))
    found = graph.then("LOGISTIC", [found], graph.shape(found), quantised=_SHARES.get(kind))
    if in_pixels:
        factors = np.ones((1, channels, 1), np.float32)
        factors[:, :4] = SIZE
        found = graph.then("MUL", [found, graph.constant(factors)], graph.shape(found))
    if unknown_scale:  # of a copy of the answer: no operator would run without
        found = graph.then("RESHAPE", [found, graph.axes(-1)], (channels * total,))
        graph.forget_scale(found)
    path = folder / "model.tflite"
    path.write_bytes(graph.file(given, [found] * outputs))
    return path


class _Graph:
    """A network in the making: tensors are numbers, in the order in which they were named."""

    def __init__(self, kind: str) -> None:
        self._schema: Any = import_module("ai_edge_litert.schema_py_generated")
        self._kind = kind
        self._tensors: list[Any] = []
        self._buffers = [self._schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[Any] = []

    def tensor(
        self,
        shape: Sequence[int],
        quantised: tuple[float, int] | None = None,
        *,
        kind: str | None = None,
        content: np.ndarray | None = None,
    ) -> int:
        one = self._schema.TensorT()
        one.shape, one.name = list(shape), f"tensor_{len(self._tensors)}"
        one.type = getattr(self._schema.TensorType, kind or self._kind)
        one.hasRank = True
        if content is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            one.buffer = len(self._buffers)
            self._buffers.append(buffer)
        if quantised is not None:
            one.quantization = self._schema.QuantizationParametersT()
            one.quantization.scale, one.quantization.zeroPoint = [quantised[0]], [quantised[1]]
        self._tensors.append(one)
        return len(self._tensors) - 1

    def constant(self, content: np.ndarray) -> int:
        return self.tensor(content.shape, kind=_FLOAT32, content=content)

    def axes(self, *numbers: int) -> int:
        content = np.array(numbers, np.int32)
        return self.tensor(content.shape, kind=_INT32, content=content)

    def convolved(self, given: int, kernel: np.ndarray, shape: Sequence[int]) -> int:
        """Append a convolution whose stride is as wide as its kernel."""
        channels, stride = kernel.shape[:2]
        options = {"strideW": stride, "strideH": stride, "padding": 1}
        if self._kind == _FLOAT32:
            weights, bias = self.constant(kernel), self.constant(np.zeros(channels, np.float32))
            return self.then("CONV_2D", [given, weights, bias], shape, **options)
        scale, zero = float(np.abs(kernel).max()) / 127, 128 if self._kind == "UINT8" else 0
        whole = (np.rint(kernel / scale) + zero).astype(_TYPES[self._kind])
        weights = self.tensor(kernel.shape, (scale, zero), content=whole)
        bias = self.tensor(
            (channels,),
            (self._tensors[given].quantization.scale[0] * scale, 0),
            kind=_INT32,
            content=np.zeros(channels, np.int32),
        )
        inputs = [given, weights, bias]
        return self.then("CONV_2D", inputs, shape, quantised=_SUMS[self._kind], **options)

    def shape(self, tensor: int) -> list[int]:
        return self._tensors[tensor].shape

    def then(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        quantised: tuple[float, int] | None = None,
        **options: int,
    ) -> int:
        """Append an operator and return its output, by default quantised as its first input is."""
        found = self.tensor(shape, quantised)
        if quantised is None:
            self._tensors[found].quantization = self._tensors[inputs[0]].quantization
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = code.builtinCode
        code.version = 3 if name == "CONV_2D" else 1 if name in ("RESHAPE", "MUL") else 2
        self._codes.append(code)
        one = self._schema.OperatorT()
        one.opcodeIndex, one.inputs, one.outputs = len(self._codes) - 1, list(inputs), [found]
        self._set_options(one, name, options)
        self._operators.append(one)
        return found

    def forget_scale(self, tensor: int) -> None:
        self._tensors[tensor].quantization = None

    def _set_options(self, one: Any, name: str, options: dict[str, int]) -> None:
        kinds = {"CONV_2D": "Conv2DOptions", "CONCATENATION": "ConcatenationOptions",
                 "MUL": "MulOptions"}  # fmt: skip
        if name in kinds:
            one.builtinOptionsType = getattr(self._schema.BuiltinOptions, kinds[name])
            one.builtinOptions = getattr(self._schema, f"{kinds[name]}T")()
            for key, value in options.items():
                setattr(one.builtinOptions, key, value)

    def file(self, given: int, found: list[int]) -> bytes:
        flatbuffers = import_module("flatbuffers")
        graph, model = self._schema.SubGraphT(), self._schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [given], found
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = self._codes
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


_PARAMS = {"classes": CLASSES, "threads": 1}
CASES = {
    "litert_yolo_int8": Case("litert_detection", partial(write, kind="INT8"), _PARAMS),
    "litert_yolox": Case(
        "litert_detection", partial(write, layout="yolox"), {"layout": "yolox", **_PARAMS}
    ),
}
