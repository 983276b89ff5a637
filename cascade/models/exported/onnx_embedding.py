"""Any network that was exported to ONNX and gives one vector an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.resizing import Mode
from cascade.models.exported.onnx_file import OnnxFile
from cascade.models.huggingface.image_processor import ProcessorView
from cascade.predictions import Embedding
from cascade.protocols import Tensors


class OnnxEmbedder:
    """Embeds an image, stretched to a square, by one output of the file.

    Args:
        checkpoint: An .onnx file with one input of images (B, 3, H, W), or a folder that holds
            exactly one; B may be fixed.
        size: Height and width that images are stretched to, in pixels; None where the file
            fixes them.
        mean: Of red, green and blue in [0, 1], subtracted.
        std: Likewise, divided by.
        mode: The interpolation, antialiased.
        output: The name of the output that holds the vectors, shape (B, D); None for the only one.
        threads: That one call computes with on the CPU; None for as many as torch uses.

    Raises:
        CheckpointError: The file is absent or damaged, or does not fit the parameters.
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
        self.module = nn.Identity()
        self._file = OnnxFile(checkpoint, threads=threads)
        if len(self._file.inputs) != 1:
            raise CheckpointError(
                f"{self._file.path} must have one input, got {', '.join(self._file.inputs)}."
            )
        self._output = _chosen(self._file, output)
        side = self._file.side(size)
        self._view = ProcessorView(
            size=(side, side), resize="stretch", mode=mode, mean=tuple(mean), std=tuple(std)
        )
        self._dimensions = self._probe(side)

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return self._dimensions

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels that `forward` needs, normalised, (B, 3, H, W)."""
        return {"pixels": self._view.normalised(self._view.view(batch))}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return vectors of shape (B, D) and length 1.

        Raises:
            CascadeError: onnxruntime could not compute them.
        """
        pixels: Tensor = tensors["pixels"]
        if not len(pixels):
            return torch.zeros((0, self._dimensions), device=pixels.device)
        vectors = self._run(pixels.cpu().numpy()).astype(np.float32, copy=False)
        return functional.normalize(torch.from_numpy(vectors), dim=1).to(pixels.device)

    def decode(self, raw: Tensor, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        return [Embedding(vector=row) for row in raw.float().cpu().numpy()]

    def _run(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the output of B images, in as many calls as the file's own batch size asks for."""
        at_once = self._file.batch_size or len(pixels)
        missing = -len(pixels) % at_once
        padded = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0))).astype(self._file.dtype)
        parts = [
            self._file.run({self._file.inputs[0]: padded[i : i + at_once]}, (self._output,))
            for i in range(0, len(padded), at_once)
        ]
        return np.concatenate([one[self._output] for one in parts])[: len(pixels)]

    def _probe(self, side: int) -> int:
        """Return the length of its vectors, found by one image: files need not announce it."""
        shape = self._run(np.zeros((1, 3, side, side), np.float32)).shape
        if len(shape) != 2:
            raise CheckpointError(
                f"{self._file.path}: the output {self._output!r} must hold one vector an image, "
                f"shape (B, D), got {shape}. Name another one as `output`."
            )
        return int(shape[1])


def _chosen(file: OnnxFile, output: str | None) -> str:
    if output is None and len(file.outputs) == 1:
        return file.outputs[0]
    if output is None or output not in file.outputs:
        raise CheckpointError(
            f"{file.path}: `output` must be one of {', '.join(file.outputs)}, got {output!r}."
        )
    return output
