"""DINOv2, with and without registers, and DINOv3 vision transformers: features without labels.

- [0] Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024
- [1] Darcet et al., Vision Transformers Need Registers, ICLR 2024
- [2] Siméoni et al., DINOv3, 2025
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from cascade.imaging.batches import Batch
from cascade.models.huggingface import image_processor, pretrained
from cascade.predictions import Embedding
from cascade.protocols import Tensors

ADAPTER = "dino"
FAMILIES = ("dinov2", "dinov2_with_registers", "dinov3_vit")


class DinoEmbedder:
    """Embeds an image by its class token, after the last normalisation.

    Args:
        checkpoint: A folder as on the hub: config, safetensors and image processor.

    Raises:
        CheckpointError: It is absent, not whole, or another family's.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        folder = pretrained.folder_of(checkpoint, FAMILIES, adapter=ADAPTER)
        self._processor = image_processor.read(folder)
        self._module = pretrained.network(AutoModel, folder)

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return int(self._module.config.hidden_size)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._module

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels that `forward` needs, normalised, (B, 3, H, W)."""
        return {"pixels": self._processor.normalised(self._processor.view(batch))}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return vectors of shape (B, D) and length 1."""
        pixels: Tensor = tensors["pixels"]
        if not len(pixels):
            return torch.zeros((0, self.dimensions), device=pixels.device)
        pooled = self._module(pixel_values=pixels.to(self._module.dtype)).pooler_output
        return functional.normalize(pooled.float(), dim=1)

    def decode(self, raw: Tensor, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        return [Embedding(vector=row) for row in raw.float().cpu().numpy()]
