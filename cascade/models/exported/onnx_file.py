"""An ONNX file that takes images: found, opened and run by onnxruntime, its errors translated."""

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

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that is there
_TYPES: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
_ORT_ERRORS = tuple(
    one for one in vars(ort_errors).values() if isinstance(one, type) and issubclass(one, Exception)
)


class OnnxFile:
    """The network of one file, on CUDA where that provider is installed, else on the CPU.

    Attributes:
        path: The file.
        pixels: What the file says of its first input: `name`, `type` and `shape`.
        inputs: The names of its inputs, in order.
        outputs: The names of its outputs, in order.
        dtype: Of the pixels.

    Args:
        checkpoint: An .onnx file, or a folder that holds exactly one.
        threads: That one call computes with on the CPU; None for as many as torch uses.

    Raises:
        CheckpointError: There is no such file, it cannot be run, or it takes no images.
    """

    def __init__(self, checkpoint: Path | None, *, threads: int | None = None) -> None:
        self.path = exported_file(checkpoint, ".onnx", kind="An ONNX model")
        self._session = _open(self.path, threads or torch.get_num_threads())
        self.pixels: Any = self._session.get_inputs()[0]
        self.inputs = tuple(one.name for one in self._session.get_inputs())
        self.outputs = tuple(one.name for one in self._session.get_outputs())
        if self.pixels.type not in _TYPES or len(self.pixels.shape) != 4:
            raise CheckpointError(
                f"{self.path}: the first input must hold pixels, (B, 3, H, W), as floats; "
                f"got {self.pixels.name}: {self.pixels.type} of shape {self.pixels.shape}."
            )
        self.dtype = _TYPES[self.pixels.type]

    @property
    def batch_size(self) -> int | None:
        """How many images the file takes at a time; None for any number."""
        images = self.pixels.shape[0]
        return images if isinstance(images, int) else None

    def side(self, size: int | None) -> int:
        """Return the side of the square that the file sees, in pixels.

        Args:
            size: What is asked for; needed only where the file leaves it open.

        Raises:
            CheckpointError: Nobody says it, or the file takes no such square.
        """
        fixed = {side for side in self.pixels.shape[2:] if isinstance(side, int)}
        wanted = fixed if size is None else fixed | {size}
        if not wanted:
            raise CheckpointError(f"{self.path} fixes no size: give the parameter `size`.")
        if len(wanted) > 1:
            raise CheckpointError(
                f"{self.path} must take squares of the size that is asked for; it takes "
                f"{self.pixels.shape[2:]}, `size` is {size}."
            )
        return wanted.pop()

    def run(
        self, given: Mapping[str, NDArray[Any]], outputs: tuple[str, ...] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return outputs by name, all of them or those that are asked for.

        Raises:
            CascadeError: onnxruntime could not compute them.
        """
        names = self.outputs if outputs is None else outputs
        try:
            found = self._session.run(list(names), dict(given))
        except _ORT_ERRORS as error:
            raise CascadeError(f"onnxruntime could not run {self.path}: {error}") from error
        return dict(zip(names, found, strict=True))


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors: constant folding warns about every odd export
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=[one for one in _PROVIDERS if one in available]
        )
    except _ORT_ERRORS as error:
        raise CheckpointError(f"{path} is no ONNX file that can be run: {error}") from error
