"""SAM 3 from transformers: masks of all objects that match a short phrase.

The vision tower, nearly all of the cost (about 4,830 GFLOP at 1008 x 1008), runs once per image;
each phrase adds about 247 GFLOP. The text tower, 353 of 840 million parameters, runs once when
the model is built and is then dropped. Only `module.model.vision_encoder` is worth compiling:
the decoder breaks into many graphs.

- [0] Carion et al., SAM 3: Segment Anything with Concepts, 2025
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cascade.errors import TaxonomyError
from cascade.imaging.batches import Batch
from cascade.models.huggingface import pretrained
from cascade.models.huggingface.prompts import prompts_of
from cascade.models.segmentation import mask_resizing
from cascade.predictions import Masks
from cascade.protocols import Tensors
from cascade.taxonomy import Taxonomy

ADAPTER = "sam3"
FAMILIES = ("sam3", "sam3_video")  # published folders have the video model's type
_INSIDE = 0.5  # probability threshold of a mask's pixels, as in the official processing


class Sam3:
    """Segmenter prompted by the taxonomy's prompts.

    A mask has the image's size, scaled down to `longest_side` if larger, and takes H x W bytes:
    46 MB for the `max_masks` of a 1280 x 720 frame.

    Args:
        checkpoint: Snapshot of the hub repository, or a folder written by `save_pretrained`.
        taxonomy: Source of the prompts.
        threshold: Score that a mask must exceed.
        max_masks: Maximum number of masks per image, over all prompts.
        longest_side: Longest side of the masks, in pixels.

    Raises:
        CheckpointError: The checkpoint is missing, incomplete, or for another model family.
        TaxonomyError: A prompt is too long for the text tower.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        taxonomy: Taxonomy,
        threshold: float = 0.05,
        max_masks: int = 50,
        longest_side: int = mask_resizing.LONGEST_SIDE,
    ) -> None:
        folder, self._view, model = pretrained.open_vision_model(
            Sam3Model, checkpoint, FAMILIES, adapter=ADAPTER
        )
        self.classes = prompts_of(taxonomy)
        self._threshold, self._longest_side = threshold, longest_side
        texts = _text_features(model, pretrained.load_tokenizer(folder), self.classes)
        self.module = _ConceptSegmenter(model, texts, max_masks)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalized pixels, (B, 3, 1008, 1008)."""
        return {"pixels": self._view.pixels(batch)}

    def forward(self, tensors: Tensors) -> Any:
        """Return the K highest-scoring masks of each image over all prompts.

        `scores` and `class_ids` have shape (B, K); `maps`, logits, (B, K, 288, 288).
        """
        return self.module(tensors["pixels"])

    def decode(self, raw: Any, batch: Batch) -> list[Masks]:
        """Return the masks of each image above the threshold, highest score first."""
        scores, class_ids = raw["scores"].cpu(), raw["class_ids"].cpu()
        results: list[Masks] = []
        for i, (height, width) in enumerate(batch.sizes):
            count = int((scores[i] > self._threshold).sum())  # scores are sorted
            size = mask_resizing.map_size(height, width, self._longest_side)
            results.append(
                Masks(
                    masks=mask_resizing.enlarge_masks(
                        raw["maps"][i, :count].float().sigmoid(), size, above=_INSIDE
                    ),
                    scores=scores[i, :count].numpy(),
                    class_ids=class_ids[i, :count].numpy(),
                    classes=self.classes,
                )
            )
        return results


class _ConceptSegmenter(nn.Module):
    """Network without its text tower, and the text features of each concept.

    Texts keep their own length and need no padding mask: attention and pooling see the same
    tokens, without a lookup on the device.
    """

    def __init__(self, model: Any, texts: Sequence[Tensor], max_masks: int) -> None:
        super().__init__()
        del model.text_encoder, model.text_projection
        self.model = model
        self.concepts, self.max_masks = len(texts), max_masks
        for i, text in enumerate(texts):
            self.register_buffer(f"text_{i}", text, persistent=False)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        dtype = next(self.model.parameters()).dtype
        best = {
            "scores": pixels.new_zeros((len(pixels), 0)),
            "class_ids": pixels.new_zeros((len(pixels), 0), dtype=torch.long),
            "maps": pixels.new_zeros((len(pixels), 0, 1, 1)),
        }
        if not len(pixels):
            return best
        image = self.model.get_vision_features(pixel_values=pixels.to(dtype))
        for i in range(self.concepts):
            masks = self._masks_of_concept(image, i, len(pixels))
            if i:
                masks = {name: torch.cat([best[name], masks[name]], dim=1) for name in masks}
            best = _top_masks(masks, self.max_masks)
        return best

    def _masks_of_concept(self, image: Any, concept: int, images: int) -> dict[str, Tensor]:
        text = self.get_buffer(f"text_{concept}").expand(images, -1, -1)
        output = self.model(
            vision_embeds=image,
            text_embeds=BaseModelOutputWithPooling(pooler_output=text),  # rejects a tensor
        )
        scores = output.pred_logits.float().sigmoid() * output.presence_logits.float().sigmoid()
        masks = {
            "scores": scores,
            "class_ids": torch.full_like(scores, concept, dtype=torch.long),
            "maps": output.pred_masks,
        }
        return _top_masks(masks, self.max_masks)


def _top_masks(masks: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return the `count` highest-scoring masks of each image, sorted; ties keep their order."""
    order = masks["scores"].sort(dim=1, descending=True, stable=True).indices[:, :count]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return {name: tensor[rows, order] for name, tensor in masks.items()}


def _text_features(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[Tensor]:
    """Return the text tower's features of each prompt, shape (1, tokens, D).

    Raises:
        TaxonomyError: A prompt has too many tokens for the tower.
    """
    limit = model.config.text_config.max_position_embeddings
    features: list[Tensor] = []
    for prompt in prompts:
        tokens = tokenizer(prompt.replace("_", " "), return_tensors="pt")["input_ids"]
        if tokens.shape[1] > limit:
            raise TaxonomyError(
                f"The prompt {prompt!r} has {tokens.shape[1]} tokens, "
                f"SAM 3 reads at most {limit}. Shorten it."
            )
        with torch.inference_mode(False), torch.no_grad():
            features.append(model.get_text_features(input_ids=tokens).pooler_output)
    return features
