"""Shared base of the embedders: normalized pixels to vectors of unit length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cascade.imaging.batches import Batch
from cascade.models.huggingface.image_processor import ProcessorView
from cascade.predictions import Embedding
from cascade.protocols import Tensors


class ImageEmbedder:
    """Embedder with its own view of images; an adapter adds `_features`.

    Args:
        module: Network.
        view: Resizing and normalization.
        dimensions: Length D of every vector.
    """

    def __init__(self, module: Any, view: ProcessorView, dimensions: int) -> None:
        self._module, self._view, self._dimensions = module, view, dimensions

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return self._dimensions

    @property
    def module(self) -> nn.Module:
        """The network."""
        module: nn.Module = self._module
        return module

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalized pixels, (B, 3, H, W)."""
        return {"pixels": self._view.pixels(batch)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return vectors of shape (B, D) and length 1."""
        pixels: Tensor = tensors["pixels"]
        if not len(pixels):
            return torch.zeros((0, self.dimensions), device=pixels.device)
        features = self._features(pixels).float()
        return functional.normalize(features, dim=1).to(pixels.device)

    def decode(self, raw: Tensor, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        return [Embedding(vector=row) for row in raw.float().cpu().numpy()]

    def _features(self, pixels: Tensor) -> Tensor:
        """Return unnormalized vectors, shape (B, D), of at least one image."""
        raise NotImplementedError
