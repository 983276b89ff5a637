"""ONNX files with images as input, run by onnxruntime with translated errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from cascade.errors import CascadeError, CheckpointError
from cascade.models.exported.files import exported_file

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # in order of preference
_TYPES: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
_ORT_ERRORS = tuple(
    value
    for value in vars(ort_errors).values()
    if isinstance(value, type) and issubclass(value, Exception)
)


class OnnxFile:
    """Network of one file, on CUDA if onnxruntime has that provider, else on the CPU.

    Attributes:
        path: Path of the file.
        pixels: Declaration of the first input: `name`, `type` and `shape`.
        inputs: Names of the inputs, in order.
        outputs: Names of the outputs, in order.
        dtype: Data type of the pixels.

    Args:
        checkpoint: .onnx file, or a folder with exactly one.
        threads: CPU threads per call; None for torch's number.

    Raises:
        CheckpointError: The file is missing, cannot be run, or has no images as input.
    """

    def __init__(self, checkpoint: Path | None, *, threads: int | None = None) -> None:
        self.path = exported_file(checkpoint, ".onnx", kind="An ONNX model")
        self._session = _open(self.path, threads or torch.get_num_threads())
        self.pixels: Any = self._session.get_inputs()[0]
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self.outputs = tuple(node.name for node in self._session.get_outputs())
        if self.pixels.type not in _TYPES or len(self.pixels.shape) != 4:
            raise CheckpointError(
                f"{self.path}: the first input must be pixels, (B, 3, H, W), as floats; "
                f"got {self.pixels.name}: {self.pixels.type} of shape {self.pixels.shape}."
            )
        self.dtype = _TYPES[self.pixels.type]

    @property
    def batch_size(self) -> int | None:
        """Number of images per call; None for any number."""
        images = self.pixels.shape[0]
        return images if isinstance(images, int) else None

    def side(self, size: int | None) -> int:
        """Return the side of the square view, in pixels.

        Args:
            size: Requested side; required only if the file does not fix it.

        Raises:
            CheckpointError: The side is unknown, or does not fit the file.
        """
        sides = {side for side in self.pixels.shape[2:] if isinstance(side, int)}
        sides |= set() if size is None else {size}
        if not sides:
            raise CheckpointError(f"{self.path} fixes no size: set the parameter `size`.")
        if len(sides) > 1:
            raise CheckpointError(
                f"{self.path} must have a square input of the requested size; its input is "
                f"{self.pixels.shape[2:]}, `size` is {size}."
            )
        return sides.pop()

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return outputs by name, all of them or the requested ones.

        Raises:
            CascadeError: onnxruntime failed.
        """
        names = self.outputs if outputs is None else outputs
        try:
            values = self._session.run(list(names), dict(inputs))
        except _ORT_ERRORS as error:
            raise CascadeError(f"onnxruntime cannot run {self.path}: {error}") from error
        return dict(zip(names, values, strict=True))


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: constant folding warns about harmless exports
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=[name for name in _PROVIDERS if name in available]
        )
    except _ORT_ERRORS as error:
        raise CheckpointError(f"Cannot run {path} as an ONNX file: {error}") from error
