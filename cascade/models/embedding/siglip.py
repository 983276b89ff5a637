"""SigLIP, SigLIP 2 at fixed resolution, and CLIP: images and texts in one embedding space.

- [0] Radford et al., Learning Transferable Visual Models From Natural Language Supervision,
  ICML 2021
- [1] Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023
- [2] Tschannen et al., SigLIP 2: Multilingual Vision-Language Encoders, 2025
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from cascade.models.embedding.image_embedder import ImageEmbedder
from cascade.models.huggingface import pretrained

ADAPTER = "siglip"
FAMILIES = ("siglip", "clip")  # `siglip` is also the type of SigLIP 2 at fixed resolution


class SiglipEmbedder(ImageEmbedder):
    """Embedder of images, and of texts in the same space.

    Args:
        checkpoint: Folder in the hub's format: config, safetensors, image processor, tokenizer.

    Raises:
        CheckpointError: The folder is missing, incomplete, or contains another model family.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        folder, view, module = pretrained.open_vision_model(
            AutoModel, checkpoint, FAMILIES, adapter=ADAPTER
        )
        config = module.config
        self._is_clip = config.model_type == "clip"
        dimensions = config.projection_dim if self._is_clip else config.vision_config.hidden_size
        super().__init__(module, view, int(dimensions))
        self._tokenizer = pretrained.load_tokenizer(folder)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Return one vector per text, shape (T, D), float32, of length 1.

        The inner product with an image's vector is their similarity. Long texts are truncated.
        """
        if not texts:
            return torch.zeros((0, self.dimensions), device=self._module.device)
        tokens = self._tokenizer(
            [text.lower() for text in texts],  # as in training; not every tokenizer does it
            # SigLIP was trained on texts padded to the full length, without a mask [1].
            padding=True if self._is_clip else "max_length",
            truncation=True,
            max_length=self._module.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self._module.device)
        mask = tokens["attention_mask"] if self._is_clip else None
        features = self._module.get_text_features(tokens["input_ids"], attention_mask=mask)
        return functional.normalize(features.pooler_output.float(), dim=1)

    def _features(self, pixels: Tensor) -> Tensor:
        output = self._module.get_image_features(pixel_values=pixels.to(self._module.dtype))
        features: Tensor = output.pooler_output
        return features
