"""SAM 3 of transformers: outlines everything that a short phrase names.

The vision tower, nearly all of the cost (about 4,830 GFLOP at 1008 x 1008), runs once an image;
each phrase adds about 247 GFLOP over the features that it left. The text tower runs once for
all, when the model is built, and is then dropped: 353 of 840 million parameters. Worth compiling
is `module.model.vision_encoder` only: the decoder breaks into many graphs.

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
from cascade.models.huggingface import image_processor, pretrained
from cascade.models.huggingface.prompts import prompts_of
from cascade.models.segmentation import mask_resizing
from cascade.predictions import Masks
from cascade.protocols import Tensors
from cascade.taxonomy import Taxonomy

ADAPTER = "sam3"
FAMILIES = ("sam3", "sam3_video")  # the published folder is the video model's, with this one inside
_INSIDE = 0.5  # probability from which a pixel belongs to a mask, as in the official processing


class Sam3:
    """The segmenter, prompted by the taxonomy's prompts.

    A map of an image has its size, or less where that exceeds `longest_side`; masks take
    H x W bytes each: the `max_masks` of a 1280 x 720 frame 46 MB.

    Args:
        checkpoint: A snapshot of the hub repository, or what `save_pretrained` wrote.
        taxonomy: Whose prompts are asked for.
        threshold: Masks whose score is not above it are left out.
        max_masks: An image, the surest of all prompts together.
        longest_side: Of the maps, in pixels.

    Raises:
        CheckpointError: The checkpoint is absent, not whole or another family's.
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
        folder = pretrained.folder_of(checkpoint, FAMILIES, adapter=ADAPTER)
        self.classes = prompts_of(taxonomy)
        self._processor = image_processor.read(folder)
        self._threshold, self._longest_side = threshold, longest_side
        tokenizer, model = pretrained.tokenizer(folder), pretrained.network(Sam3Model, folder)
        self.module = _ConceptSegmenter(
            model, _text_features(model, tokenizer, self.classes), max_masks
        )

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels as the official processor makes them, (B, 3, 1008, 1008)."""
        return {"pixels": self._processor.normalised(self._processor.view(batch))}

    def forward(self, tensors: Tensors) -> Any:
        """Return the K surest masks of each image over all prompts, as the network draws them.

        `scores` and `class_ids` have shape (B, K), `maps` (B, K, 288, 288) holds logits.
        """
        return self.module(tensors["pixels"])

    def decode(self, raw: Any, batch: Batch) -> list[Masks]:
        """Return the masks of each image, surest first: thresholded, and only then enlarged."""
        scores, class_ids = raw["scores"].cpu(), raw["class_ids"].cpu()
        results: list[Masks] = []
        for i, (height, width) in enumerate(batch.sizes):
            kept = int((scores[i] > self._threshold).sum())  # sorted: the first so many
            size = mask_resizing.map_size(height, width, self._longest_side)
            results.append(
                Masks(
                    masks=mask_resizing.enlarged(
                        raw["maps"][i, :kept].float().sigmoid(), size, above=_INSIDE
                    ),
                    scores=scores[i, :kept].numpy(),
                    class_ids=class_ids[i, :kept].numpy(),
                    classes=self.classes,
                )
            )
        return results


class _ConceptSegmenter(nn.Module):
    """The network without its text tower, and what that tower said of each concept.

    Texts of the length that they have need no mask for padding: what attention and pooling see
    is the same, and nothing has to be looked up on the device.
    """

    def __init__(self, model: Any, texts: Sequence[Tensor], most: int) -> None:
        super().__init__()
        del model.text_encoder, model.text_projection
        self.model = model
        self.concepts, self.most = len(texts), most
        for i, one in enumerate(texts):
            self.register_buffer(f"text_{i}", one, persistent=False)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        dtype = next(self.model.parameters()).dtype
        kept = {
            "scores": pixels.new_zeros((len(pixels), 0)),
            "class_ids": pixels.new_zeros((len(pixels), 0), dtype=torch.long),
            "maps": pixels.new_zeros((len(pixels), 0, 1, 1)),
        }
        if not len(pixels):
            return kept
        image = self.model.get_vision_features(pixel_values=pixels.to(dtype))
        for i in range(self.concepts):
            found = self._of_concept(image, i, len(pixels))
            kept = _surest(_joined(kept, found) if i else found, self.most)
        return kept

    def _of_concept(self, image: Any, concept: int, images: int) -> dict[str, Tensor]:
        text = self.get_buffer(f"text_{concept}").expand(images, -1, -1)
        said = self.model(
            vision_embeds=image,
            text_embeds=BaseModelOutputWithPooling(pooler_output=text),  # it refuses a tensor
        )
        scores = said.pred_logits.float().sigmoid() * said.presence_logits.float().sigmoid()
        found = {
            "scores": scores,
            "class_ids": torch.full_like(scores, concept, dtype=torch.long),
            "maps": said.pred_masks,
        }
        return _surest(found, self.most)


def _joined(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([a[name], b[name]], dim=1) for name in a}


def _surest(found: dict[str, Tensor], most: int) -> dict[str, Tensor]:
    """Return the `most` surest of each image, sorted; of equals the first."""
    order = found["scores"].sort(dim=1, descending=True, stable=True).indices[:, :most]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return {name: one[rows, order] for name, one in found.items()}


def _text_features(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[Tensor]:
    """Return the text tower's features of each prompt, shape (1, its tokens, D).

    Raises:
        TaxonomyError: A prompt has more tokens than the tower has places.
    """
    places = model.config.text_config.max_position_embeddings
    features: list[Tensor] = []
    for prompt in prompts:
        tokens = tokenizer(prompt.replace("_", " "), return_tensors="pt")["input_ids"]
        if tokens.shape[1] > places:
            raise TaxonomyError(
                f"The prompt {prompt!r} has {tokens.shape[1]} tokens, "
                f"SAM 3 reads {places} at most. Shorten it."
            )
        with torch.inference_mode(False), torch.no_grad():
            features.append(model.get_text_features(input_ids=tokens).pooler_output)
    return features
