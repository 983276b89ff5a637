"""Depth Anything V2 of transformers: metres where it was tuned for them, else only an order.

- [0] Yang et al., Depth Anything V2, NeurIPS 2024
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn
from transformers import AutoModelForDepthEstimation

from cascade.arrays import FloatArray
from cascade.imaging import resizing
from cascade.imaging.batches import Batch
from cascade.models.huggingface import image_processor, pretrained
from cascade.predictions import DepthMap
from cascade.protocols import Tensors

ADAPTER = "depth_anything_2"
FAMILIES = ("depth_anything",)
SATURATED = 0.99  # of the largest depth: a sigmoid that is nearly 1 means "there or beyond"
FARTHEST = 1000  # times as far as the nearest pixel: beyond, rounding decides


class DepthAnything2:
    """Depth of every pixel, on a map of the size that the network sees.

    Images keep their proportions, so images of a batch that come out in different sizes are
    computed size by size.

    Args:
        checkpoint: A folder as on the hub: config, safetensors and image processor. Its
            `depth_estimation_type` decides between metres and relative depth.

    Raises:
        CheckpointError: It is absent, not whole, or another family's.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        folder = pretrained.folder_of(checkpoint, FAMILIES, adapter=ADAPTER)
        self._processor = image_processor.read(folder)
        self._module = pretrained.network(AutoModelForDepthEstimation, folder)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._module

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels that `forward` needs, normalised: one (B', 3, H, W) per size."""
        pixels = batch.pixels()
        groups = []
        for size, members in self._by_size(batch).items():
            alike = resizing.stretched(
                [pixels[i] for i in members], *size, self._processor.mode, device=batch.device
            )
            groups.append(self._processor.normalised(alike))
        return {"pixels": groups}

    def forward(self, tensors: Tensors) -> list[Tensor]:
        """Return the network's own output, (B', H, W) per size."""
        groups: list[Tensor] = tensors["pixels"]
        return [
            self._module(pixel_values=pixels.to(self._module.dtype)).predicted_depth
            for pixels in groups
        ]

    def decode(self, raw: list[Tensor], batch: Batch) -> list[DepthMap]:
        """Return one map per image, in order.

        Metres are NaN from 99 % of the largest depth on: the network was never taught what lies
        there, the sky above all. Relative maps are the inverse of the network's inverse depth;
        scale and offset are unknown. NaN where a pixel is 1000 times as far as the nearest.
        """
        maps: dict[int, DepthMap] = {}
        for found, members in zip(raw, self._by_size(batch).values(), strict=True):
            for i, one in zip(members, found.float().cpu().numpy(), strict=True):
                maps[i] = self._map(one)
        return [maps[i] for i in range(len(batch))]

    def _by_size(self, batch: Batch) -> dict[tuple[int, int], list[int]]:
        """Return the images of each size that the network sees, by their place in the batch."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, size in enumerate(batch.sizes):
            groups.setdefault(self._processor.resized_size(*size), []).append(i)
        return groups

    def _map(self, output: FloatArray) -> DepthMap:
        config = self._module.config
        if config.depth_estimation_type == "metric":
            return DepthMap(depth=metres(output, config.max_depth), unit="metres")
        return DepthMap(depth=from_inverse(output), unit="relative")


def metres(output: FloatArray, max_depth: float) -> FloatArray:
    """Return depth in metres, NaN where the output is saturated."""
    known = (output > 0) & (output < SATURATED * max_depth)
    return np.where(known, output, np.nan).astype(np.float32)


def from_inverse(output: FloatArray) -> FloatArray:
    """Return depth, larger is farther, of inverse depth; NaN where that is, all but, 0."""
    known = output > output.max() / FARTHEST
    depth = np.divide(1, output, out=np.full(output.shape, np.nan, np.float32), where=known)
    return depth.astype(np.float32, copy=False)
