"""Embedding networks exported to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cascade.errors import CheckpointError
from cascade.imaging.resizing import Mode
from cascade.models.embedding.image_embedder import ImageEmbedder
from cascade.models.exported.onnx_file import OnnxFile
from cascade.models.huggingface.image_processor import ProcessorView


class OnnxEmbedder(ImageEmbedder):
    """Embedder of images, stretched to a square, by one output of the file.

    Args:
        checkpoint: .onnx file with one input of images (B, 3, H, W), or a folder with exactly
            one; B may be fixed.
        size: Height and width that images are stretched to, in pixels; None if the file fixes
            them.
        mean: Mean of red, green and blue in [0, 1].
        std: Standard deviation of red, green and blue.
        mode: Interpolation, antialiased.
        output: Name of the output with the vectors, shape (B, D); None for a single output.
        threads: CPU threads per call; None for torch's number.

    Raises:
        CheckpointError: The file is missing or damaged, or does not match the parameters.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        size: int | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        mode: Mode = "bilinear",
        output: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._file = OnnxFile(checkpoint, threads=threads)
        if len(self._file.inputs) != 1:
            raise CheckpointError(
                f"{self._file.path} must have one input, got {', '.join(self._file.inputs)}."
            )
        self._output = _choose_output(self._file, output)
        side = self._file.side(size)
        view = ProcessorView(
            size=(side, side), resize="stretch", mode=mode, mean=tuple(mean), std=tuple(std)
        )
        super().__init__(nn.Identity(), view, self._probe_dimensions(side))

    def _features(self, pixels: Tensor) -> Tensor:
        """Return unnormalized vectors, on the CPU.

        Raises:
            CascadeError: onnxruntime failed.
        """
        vectors = self._run(pixels.cpu().numpy()).astype(np.float32, copy=False)
        return torch.from_numpy(vectors)

    def _run(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the output of B images, in calls of the file's batch size."""
        step = self._file.batch_size or len(pixels)
        padding = -len(pixels) % step
        padded = np.pad(pixels, ((0, padding), (0, 0), (0, 0), (0, 0))).astype(self._file.dtype)
        outputs = [
            self._file.run({self._file.inputs[0]: padded[i : i + step]}, (self._output,))
            for i in range(0, len(padded), step)
        ]
        return np.concatenate([output[self._output] for output in outputs])[: len(pixels)]

    def _probe_dimensions(self, side: int) -> int:
        """Return the length of the vectors, from one image: not every file declares it."""
        shape = self._run(np.zeros((1, 3, side, side), np.float32)).shape
        if len(shape) != 2:
            raise CheckpointError(
                f"{self._file.path}: the output {self._output!r} must have one vector per image, "
                f"shape (B, D), got {shape}. Choose another `output`."
            )
        return int(shape[1])


def _choose_output(file: OnnxFile, output: str | None) -> str:
    if output is None and len(file.outputs) == 1:
        return file.outputs[0]
    if output is None or output not in file.outputs:
        raise CheckpointError(
            f"{file.path}: `output` must be one of {', '.join(file.outputs)}, got {output!r}."
        )
    return output
