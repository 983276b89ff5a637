"""DINOv2, with and without registers, and DINOv3: self-supervised vision transformers.

- [0] Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024
- [1] Darcet et al., Vision Transformers Need Registers, ICLR 2024
- [2] Siméoni et al., DINOv3, 2025
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from transformers import AutoModel

from cascade.models.embedding.image_embedder import ImageEmbedder
from cascade.models.huggingface import pretrained

ADAPTER = "dino"
FAMILIES = ("dinov2", "dinov2_with_registers", "dinov3_vit")


class DinoEmbedder(ImageEmbedder):
    """Image embedder by the class token, after the last normalization.

    Args:
        checkpoint: Folder in the hub's format: config, safetensors and image processor.

    Raises:
        CheckpointError: The folder is missing, incomplete, or contains another model family.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        _, view, module = pretrained.open_vision_model(
            AutoModel, checkpoint, FAMILIES, adapter=ADAPTER
        )
        super().__init__(module, view, int(module.config.hidden_size))

    def _features(self, pixels: Tensor) -> Tensor:
        output: Tensor = self._module(pixel_values=pixels.to(self._module.dtype)).pooler_output
        return output
