"""Depth Anything V2 from transformers: depth in meters from metric checkpoints, else relative.

- [0] Yang et al., Depth Anything V2, NeurIPS 2024
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor
from transformers import AutoModelForDepthEstimation

from cascade.arrays import FloatArray
from cascade.imaging import resizing
from cascade.imaging.batches import Batch
from cascade.models.huggingface import pretrained
from cascade.predictions import DepthMap
from cascade.protocols import Tensors

ADAPTER = "depth_anything_2"
FAMILIES = ("depth_anything",)
SATURATED = 0.99  # share of the maximum depth; a sigmoid near 1 means "this far or farther"
FARTHEST = 1000  # multiple of the nearest pixel's depth; beyond it rounding errors dominate


class DepthAnything2:
    """Depth estimator; a map has the size of the network's view.

    Images keep their proportions, so the images of a batch are computed size by size.

    Args:
        checkpoint: Folder in the hub's format: config, safetensors and image processor. Its
            `depth_estimation_type` selects meters or relative depth.

    Raises:
        CheckpointError: The folder is missing, incomplete, or contains another model family.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        _, self._view, self.module = pretrained.open_vision_model(
            AutoModelForDepthEstimation, checkpoint, FAMILIES, adapter=ADAPTER
        )

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalized pixels: one tensor (B', 3, H, W) per size."""
        pixels = batch.pixels()
        groups = []
        for size, indices in self._indices_by_size(batch).items():
            resized = resizing.resize_batch(
                [pixels[i] for i in indices], *size, self._view.mode, device=batch.device
            )
            groups.append(self._view.normalize(resized))
        return {"pixels": groups}

    def forward(self, tensors: Tensors) -> list[Tensor]:
        """Return the network's output, (B', H, W) per size."""
        groups: list[Tensor] = tensors["pixels"]
        return [
            self.module(pixel_values=pixels.to(self.module.dtype)).predicted_depth
            for pixels in groups
        ]

    def decode(self, raw: list[Tensor], batch: Batch) -> list[DepthMap]:
        """Return one map per image, in order.

        Metric depth is NaN from 99 % of the maximum depth on: the network was not trained beyond
        it, and sky ends up there. Relative depth is the inverse of the network's inverse depth,
        with unknown scale and offset; NaN beyond 1000 times the nearest pixel's depth.
        """
        maps: dict[int, DepthMap] = {}
        for group, indices in zip(raw, self._indices_by_size(batch).values(), strict=True):
            for i, output in zip(indices, group.float().cpu().numpy(), strict=True):
                maps[i] = self._map(output)
        return [maps[i] for i in range(len(batch))]

    def _indices_by_size(self, batch: Batch) -> dict[tuple[int, int], list[int]]:
        """Return the batch indices of the images of each resized size."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, size in enumerate(batch.sizes):
            groups.setdefault(self._view.resized_size(*size), []).append(i)
        return groups

    def _map(self, output: FloatArray) -> DepthMap:
        config = self.module.config
        if config.depth_estimation_type == "metric":
            return DepthMap(depth=metric_depth(output, config.max_depth), unit="metres")
        return DepthMap(depth=relative_depth(output), unit="relative")


def metric_depth(output: FloatArray, max_depth: float) -> FloatArray:
    """Return depth in meters, NaN for saturated outputs."""
    valid = (output > 0) & (output < SATURATED * max_depth)
    return np.where(valid, output, np.nan).astype(np.float32)


def relative_depth(output: FloatArray) -> FloatArray:
    """Return depth (larger is farther) from inverse depth; NaN where that is almost 0."""
    valid = output > output.max() / FARTHEST
    depth = np.divide(1, output, out=np.full(output.shape, np.nan, np.float32), where=valid)
    return depth.astype(np.float32, copy=False)
