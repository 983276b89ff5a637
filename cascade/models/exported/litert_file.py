"""A TFLite file that takes one image: found, opened and run by LiteRT, its errors translated.

Files for small devices hold whole numbers, also at their ends; here both ends are real numbers.

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

_WHOLE = (np.int8, np.uint8, np.int16)
_LITERT_ERRORS = (ValueError, RuntimeError)
_CHANNELS = 3


@dataclass(frozen=True)
class Quantisation:
    """How whole numbers stand for real ones: real = scale (whole - zero) [0]."""

    dtype: type[np.integer[Any]]
    scale: float
    zero: int

    def to_whole(self, real: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """Return the nearest whole numbers; what lies outside their range becomes its end."""
        bounds = np.iinfo(self.dtype)
        whole = np.rint(real / self.scale) + self.zero
        return whole.clip(bounds.min, bounds.max).astype(self.dtype)

    def to_real(self, whole: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the real numbers."""
        return ((whole.astype(np.float32) - self.zero) * self.scale).astype(np.float32)


class LitertFile:
    """The network of one file, with one input and one output, on the CPU.

    Attributes:
        path: The file.
        side: Of the square that it sees, in pixels.

    Args:
        checkpoint: A .tflite file, or a folder that holds exactly one.
        threads: That it computes with; None for as many as torch uses.

    Raises:
        CheckpointError: There is no such file, it cannot be run, or does not take one square
            RGB image at a time.
    """

    def __init__(self, checkpoint: Path | None, *, threads: int | None = None) -> None:
        self.path = exported_file(checkpoint, ".tflite", kind="A TFLite model")
        self._interpreter = _open(self.path, threads or torch.get_num_threads())
        given = self._interpreter.get_input_details()
        found = self._interpreter.get_output_details()
        if len(given) != 1 or len(found) != 1:
            raise CheckpointError(
                f"{self.path} must have one input and one output; it has {len(given)} and "
                f"{len(found)}."
            )
        self._input, self._output = given[0], found[0]
        self.side, self._channels_last = _square(
            tuple(self._input["shape"].tolist()), origin=self.path
        )
        self._pixels = _quantisation(self._input, origin=self.path)
        self._answers = _quantisation(self._output, origin=self.path)

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answer to one image.

        Args:
            pixels: Shape (1, 3, S, S), in the range that the network was trained with.

        Raises:
            CascadeError: LiteRT could not compute it.
        """
        given: NDArray[Any] = pixels.transpose(0, 2, 3, 1) if self._channels_last else pixels
        if self._pixels is not None:
            given = self._pixels.to_whole(given)
        try:
            self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(given))
            self._interpreter.invoke()
            answer = self._interpreter.get_tensor(self._output["index"])
        except _LITERT_ERRORS as error:
            raise CascadeError(f"LiteRT could not run {self.path}: {error}") from error
        return answer if self._answers is None else self._answers.to_real(answer)


def _open(path: Path, threads: int) -> Any:
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except _LITERT_ERRORS as error:
        raise CheckpointError(f"{path} is no TFLite file that can be run: {error}") from error
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
        f"{origin} must take one square image, (1, S, S, 3) or (1, 3, S, S); it takes {shape}."
    )


def _quantisation(tensor: Mapping[str, Any], *, origin: Path) -> Quantisation | None:
    """Return how an end of the network is quantised; None where it holds real numbers."""
    dtype, (scale, zero) = tensor["dtype"], tensor["quantization"]
    if dtype is np.float32:
        return None
    if dtype not in _WHOLE or not scale:
        raise CheckpointError(
            f"{origin}: {tensor['name']} must hold float32 or quantised whole numbers; it holds "
            f"{np.dtype(dtype).name} of scale {scale:g}."
        )
    return Quantisation(dtype, float(scale), int(zero))
