"""Tiny random TFLite detectors, quantized or not, written with LiteRT's schema.

Each is one convolution per stride: a cell depends on its own pixels only. Writing needs the
package `ai_edge_litert`, like reading.
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
    """Return weights with spread outputs for pixels from 0 to 1: (channels, s, s, 3)."""
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
        folder: Destination.
        layout: Layout of `cascade.models.exported.layouts`; yolox takes unscaled bytes.
        kind: Data type: FLOAT32, INT8 or UINT8.
        channels_first: Whether the input is (1, 3, S, S) instead of (1, S, S, 3).
        shape: Other shape of the input.
        in_pixels: Whether boxes are in pixels instead of relative to the view.
        outputs: Number of copies of the output.
        unknown_scale: Whether to omit the quantization of the output.
    """
    graph = _Graph(kind)
    image = (1, 3, SIZE, SIZE) if channels_first else (1, SIZE, SIZE, 3)
    scale = 1.0 if layout == "yolo" else 1 / 255
    source = output = graph.tensor(shape or image, _SHARES.get(kind))
    if channels_first:
        output = graph.then("TRANSPOSE", [output, graph.axes(0, 2, 3, 1)], (1, SIZE, SIZE, 3))
    channels = (4 if layout == "yolo" else 5) + len(CLASSES)
    parts, total = [], 0
    for stride in STRIDES[layout]:
        side = SIZE // stride
        cells = graph.convolution(
            output, kernel(stride, channels) * scale, (1, side, side, channels)
        )
        flat = graph.axes(1, -1, channels)
        parts.append(graph.then("RESHAPE", [cells, flat], (1, side**2, channels)))
        total += side**2
    (output, *others) = parts
    if others:
        output = graph.then("CONCATENATION", parts, (1, total, channels), axis=1)
    if layout == "yolo":
        output = graph.then("TRANSPOSE", [output, graph.axes(0, 2, 1)], (1, channels, total))
    output = graph.then("LOGISTIC", [output], graph.shape(output), quantization=_SHARES.get(kind))
    if in_pixels:
        factors = np.ones((1, channels, 1), np.float32)
        factors[:, :4] = SIZE
        output = graph.then("MUL", [output, graph.constant(factors)], graph.shape(output))
    if unknown_scale:  # of a copy: operators need the quantization of their inputs
        output = graph.then("RESHAPE", [output, graph.axes(-1)], (channels * total,))
        graph.forget_scale(output)
    path = folder / "model.tflite"
    path.write_bytes(graph.file(source, [output] * outputs))
    return path


class _Graph:
    """Builder of a network; tensors are numbered in the order of their creation."""

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
        quantization: tuple[float, int] | None = None,
        *,
        kind: str | None = None,
        content: np.ndarray | None = None,
    ) -> int:
        tensor = self._schema.TensorT()
        tensor.shape, tensor.name = list(shape), f"tensor_{len(self._tensors)}"
        tensor.type = getattr(self._schema.TensorType, kind or self._kind)
        tensor.hasRank = True
        if content is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        if quantization is not None:
            tensor.quantization = self._schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = (
                [quantization[0]],
                [quantization[1]],
            )
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, content: np.ndarray) -> int:
        return self.tensor(content.shape, kind=_FLOAT32, content=content)

    def axes(self, *numbers: int) -> int:
        content = np.array(numbers, np.int32)
        return self.tensor(content.shape, kind=_INT32, content=content)

    def convolution(self, source: int, kernel: np.ndarray, shape: Sequence[int]) -> int:
        """Append a convolution with a stride equal to its kernel size."""
        channels, stride = kernel.shape[:2]
        options = {"strideW": stride, "strideH": stride, "padding": 1}
        if self._kind == _FLOAT32:
            weights, bias = self.constant(kernel), self.constant(np.zeros(channels, np.float32))
            return self.then("CONV_2D", [source, weights, bias], shape, **options)
        scale, zero = float(np.abs(kernel).max()) / 127, 128 if self._kind == "UINT8" else 0
        quantized = (np.rint(kernel / scale) + zero).astype(_TYPES[self._kind])
        weights = self.tensor(kernel.shape, (scale, zero), content=quantized)
        bias = self.tensor(
            (channels,),
            (self._tensors[source].quantization.scale[0] * scale, 0),
            kind=_INT32,
            content=np.zeros(channels, np.int32),
        )
        inputs = [source, weights, bias]
        return self.then("CONV_2D", inputs, shape, quantization=_SUMS[self._kind], **options)

    def shape(self, tensor: int) -> list[int]:
        return self._tensors[tensor].shape

    def then(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        quantization: tuple[float, int] | None = None,
        **options: int,
    ) -> int:
        """Append an operator and return its output, quantized like its first input by default."""
        output = self.tensor(shape, quantization)
        if quantization is None:
            self._tensors[output].quantization = self._tensors[inputs[0]].quantization
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = code.builtinCode
        code.version = 3 if name == "CONV_2D" else 1 if name in ("RESHAPE", "MUL") else 2
        self._codes.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = (
            len(self._codes) - 1,
            list(inputs),
            [output],
        )
        self._set_options(operator, name, options)
        self._operators.append(operator)
        return output

    def forget_scale(self, tensor: int) -> None:
        self._tensors[tensor].quantization = None

    def _set_options(self, operator: Any, name: str, options: dict[str, int]) -> None:
        kinds = {"CONV_2D": "Conv2DOptions", "CONCATENATION": "ConcatenationOptions",
                 "MUL": "MulOptions"}  # fmt: skip
        if name in kinds:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, kinds[name])
            operator.builtinOptions = getattr(self._schema, f"{kinds[name]}T")()
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)

    def file(self, source: int, outputs: list[int]) -> bytes:
        flatbuffers = import_module("flatbuffers")
        graph, model = self._schema.SubGraphT(), self._schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [source], outputs
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
