"""TFLite files with one image as input, run by LiteRT with translated errors.

Quantized files have integers as input and output; both are converted to and from real numbers.

- [0] Jacob et al., Quantization and Training of Neural Networks for Efficient
  Integer-Arithmetic-Only Inference, CVPR 2018
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from cascade.errors import CascadeError, CheckpointError
from cascade.models.exported.files import exported_file

_INTEGERS = (np.int8, np.uint8, np.int16)
_LITERT_ERRORS = (ValueError, RuntimeError)
_CHANNELS = 3


@dataclass(frozen=True)
class Quantization:
    """Mapping between integers and real numbers: real = scale (integer - zero) [0]."""

    dtype: type[np.integer[Any]]
    scale: float
    zero: int

    def quantize(self, values: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """Return the nearest integers, clipped to the range of the data type."""
        bounds = np.iinfo(self.dtype)
        integers = np.rint(values / self.scale) + self.zero
        return integers.clip(bounds.min, bounds.max).astype(self.dtype)

    def dequantize(self, integers: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the real numbers."""
        return ((integers.astype(np.float32) - self.zero) * self.scale).astype(np.float32)


class LitertFile:
    """Network of one file, with one input and one output, on the CPU.

    Attributes:
        path: Path of the file.
        side: Side of the square view, in pixels.

    Args:
        checkpoint: .tflite file, or a folder with exactly one.
        threads: CPU threads; None for torch's number.

    Raises:
        CheckpointError: The file is missing, cannot be run, or its input is not a single square
            RGB image.
    """

    def __init__(self, checkpoint: Path | None, *, threads: int | None = None) -> None:
        self.path = exported_file(checkpoint, ".tflite", kind="A TFLite model")
        self._interpreter = _open(self.path, threads or torch.get_num_threads())
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise CheckpointError(
                f"{self.path} must have one input and one output; it has {len(inputs)} and "
                f"{len(outputs)}."
            )
        self._input, self._output = inputs[0], outputs[0]
        self.side, self._channels_last = _square(
            tuple(self._input["shape"].tolist()), origin=self.path
        )
        self._input_quantization = _quantization(self._input, origin=self.path)
        self._output_quantization = _quantization(self._output, origin=self.path)

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for one image.

        Args:
            pixels: Pixels in the range of the training, shape (1, 3, S, S).

        Raises:
            CascadeError: LiteRT failed.
        """
        image: NDArray[Any] = pixels.transpose(0, 2, 3, 1) if self._channels_last else pixels
        if self._input_quantization is not None:
            image = self._input_quantization.quantize(image)
        try:
            self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(image))
            self._interpreter.invoke()
            output = self._interpreter.get_tensor(self._output["index"])
        except _LITERT_ERRORS as error:
            raise CascadeError(f"LiteRT cannot run {self.path}: {error}") from error
        if self._output_quantization is None:
            return output
        return self._output_quantization.dequantize(output)


def _open(path: Path, threads: int) -> Any:
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except _LITERT_ERRORS as error:
        raise CheckpointError(f"Cannot run {path} as a TFLite file: {error}") from error
    return interpreter


def _square(shape: tuple[int, ...], *, origin: Path) -> tuple[int, bool]:
    """Return the side of the square, in pixels, and whether channels come last."""
    if len(shape) == 4 and shape[0] == 1:
        for channels_last, (channels, height, width) in (
            (True, (shape[3], *shape[1:3])),
            (False, shape[1:]),
        ):
            if channels == _CHANNELS and height == width:
                return height, channels_last
    raise CheckpointError(
        f"{origin} must have one square image as input, (1, S, S, 3) or (1, 3, S, S), got {shape}."
    )


def _quantization(tensor: Mapping[str, Any], *, origin: Path) -> Quantization | None:
    """Return the quantization of an input or output; None for real numbers."""
    dtype, (scale, zero) = tensor["dtype"], tensor["quantization"]
    if dtype is np.float32:
        return None
    if dtype not in _INTEGERS or not scale:
        raise CheckpointError(
            f"{origin}: {tensor['name']} must be float32 or quantized integers, got "
            f"{np.dtype(dtype).name} with scale {scale:g}."
        )
    return Quantization(dtype, float(scale), int(zero))
