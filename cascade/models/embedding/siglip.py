"""SigLIP, SigLIP 2 at fixed resolution, and CLIP: images and texts in one space.

- [0] Radford et al., Learning Transferable Visual Models From Natural Language Supervision,
  ICML 2021
- [1] Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023
- [2] Tschannen et al., SigLIP 2: Multilingual Vision-Language Encoders, 2025
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from cascade.imaging.batches import Batch
from cascade.models.huggingface import image_processor, pretrained
from cascade.predictions import Embedding
from cascade.protocols import Tensors

ADAPTER = "siglip"
FAMILIES = ("siglip", "clip")  # SigLIP 2 at fixed resolution calls itself siglip


class SiglipEmbedder:
    """Embeds an image, and a text beside the images that it describes.

    Args:
        checkpoint: A folder as on the hub: config, safetensors, image processor and tokenizer.

    Raises:
        CheckpointError: It is absent, not whole, or another family's.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        folder = pretrained.folder_of(checkpoint, FAMILIES, adapter=ADAPTER)
        self._processor = image_processor.read(folder)
        self._tokenizer = pretrained.tokenizer(folder)
        self._module = pretrained.network(AutoModel, folder)

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        config = self._module.config
        clip = config.model_type == "clip"
        return int(config.projection_dim if clip else config.vision_config.hidden_size)

    @property
    def module(self) -> nn.Module:
        """The network, both its towers."""
        return self._module

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels that `forward` needs, normalised, (B, 3, H, W)."""
        return {"pixels": self._processor.normalised(self._processor.view(batch))}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return vectors of shape (B, D) and length 1."""
        pixels: Tensor = tensors["pixels"]
        if not len(pixels):
            return torch.zeros((0, self.dimensions), device=pixels.device)
        features = self._module.get_image_features(pixel_values=pixels.to(self._module.dtype))
        return functional.normalize(features.pooler_output.float(), dim=1)

    def decode(self, raw: Tensor, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        return [Embedding(vector=row) for row in raw.float().cpu().numpy()]

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Return one vector per text, shape (T, D), float32, of length 1.

        Its inner product with an image's vector is their similarity. A text that is longer than
        the network reads is cut off.
        """
        if not texts:
            return torch.zeros((0, self.dimensions), device=self._module.device)
        config = self._module.config
        clip = config.model_type == "clip"
        tokens = self._tokenizer(
            [one.lower() for one in texts],  # as they were trained; not all tokenizers do it
            # SigLIP was trained on texts filled up to their full length, without a mask [1].
            padding=True if clip else "max_length",
            truncation=True,
            max_length=config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self._module.device)
        mask = tokens["attention_mask"] if clip else None
        features = self._module.get_text_features(tokens["input_ids"], attention_mask=mask)
        return functional.normalize(features.pooler_output.float(), dim=1)
