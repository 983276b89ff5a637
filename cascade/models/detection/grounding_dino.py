"""Grounding DINO, MM-Grounding-DINO and LLMDet: open-vocabulary detectors with token scores.

- [0] Liu et al., Grounding DINO: Marrying DINO with Grounded Pre-Training, ECCV 2024
- [1] Zhao et al., An Open and Comprehensive Pipeline for Unified Object Grounding and
      Detection, 2024
- [2] Fu et al., LLMDet: Learning Strong Open-Vocabulary Object Detectors, CVPR 2025
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Avoids one device synchronization per deformable attention; read at each call.
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")

from transformers.image_transforms import center_to_corners_format, get_size_with_aspect_ratio

from cascade.errors import CheckpointError
from cascade.imaging import resizing
from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import to_detections
from cascade.models.huggingface import prompts
from cascade.models.huggingface.image_processor import channel_tensor
from cascade.models.huggingface.zero_shot import open_folder
from cascade.predictions import Detections
from cascade.protocols import Tensors
from cascade.taxonomy import Taxonomy

ADAPTER = "grounding_dino"
FAMILIES = ("grounding-dino", "mm-grounding-dino")
TEXT_THRESHOLD = 0.25  # minimum score of a word in a box's phrase: the official default


class GroundingDino:
    """Open-vocabulary detector, prompted with a taxonomy.

    Images keep their proportions. Only images of equal size are computed together: with the
    official processor's padding to a common size, a prediction would depend on the other images
    of the batch. Prompts that exceed one text are split across several, with one pass each.

    Args:
        checkpoint: Folder of a published model.
        taxonomy: Source of the prompts.

    Raises:
        CheckpointError: The folder is missing, incomplete, or contains another model family.
        TaxonomyError: A prompt is too long for the model.
    """

    def __init__(self, checkpoint: Path | None = None, *, taxonomy: Taxonomy) -> None:
        self.module, processor = open_folder(checkpoint, FAMILIES, adapter=ADAPTER)
        self.classes = prompts.prompts_of(taxonomy)
        self._images = processor.image_processor
        if not (self._images.size.shortest_edge and self._images.size.longest_edge):
            raise CheckpointError(
                f"{checkpoint}: the image processor's size must have `shortest_edge` and "
                f"`longest_edge`, got {self._images.size}."
            )
        self._texts: list[dict[str, Tensor]] = []
        self._owners: list[Tensor] = []
        for part in self._captions(processor.tokenizer):
            self._add_text(part, processor.tokenizer)

    def prepare(self, batch: Batch) -> Tensors:
        """Return pixels grouped by size, each image's row in them, and the texts."""
        sizes = [self._resized_size(*size) for size in batch.sizes]
        groups = [
            [i for i, size in enumerate(sizes) if size == group_size]
            for group_size in dict.fromkeys(sizes)
        ]
        order = torch.tensor([i for group in groups for i in group], dtype=torch.long)
        return {
            "pixels": [self._pixels(batch, group, sizes[group[0]]) for group in groups],
            "rows": order.argsort().to(batch.device, non_blocking=True),
            "texts": [
                {name: tensor.to(batch.device, non_blocking=True) for name, tensor in text.items()}
                for text in self._texts
            ],
        }

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return `logits` of queries and tokens, and `boxes`, with one row of both per text.

        For B images, K texts, Q queries and T tokens the shapes are (B, K, Q, T) and
        (B, K, Q, 4); boxes are relative centers and sides.
        """
        config = self.module.config
        rows = tensors["rows"]
        shape = (0, len(self._texts), config.num_queries)
        logits = [rows.new_zeros((*shape, config.max_text_len), dtype=torch.float)]
        boxes = [rows.new_zeros((*shape, 4), dtype=torch.float)]
        for pixels in tensors["pixels"]:
            outputs = [self._run(pixels, text) for text in tensors["texts"]]
            logits.append(torch.stack([output.logits for output in outputs], dim=1).float())
            boxes.append(torch.stack([output.pred_boxes for output in outputs], dim=1).float())
        return {"logits": torch.cat(logits)[rows], "boxes": torch.cat(boxes)[rows]}

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Detections]:
        """Return the highest-scoring queries of each image, without suppression."""
        class_ids, scores, first = [], [], 0
        for logits, owners in zip(raw["logits"].unbind(dim=1), self._owners, strict=True):
            count = int(owners.max()) + 1
            best, score = prompts.best_prompts(
                logits, owners.to(logits.device), count, TEXT_THRESHOLD
            )
            class_ids.append(best + first)
            scores.append(score)
            first += count
        boxes = center_to_corners_format(raw["boxes"].flatten(1, 2))
        return [
            to_detections(*row, self.classes, nms_iou=None)
            for row in zip(boxes, torch.cat(scores, 1), torch.cat(class_ids, 1), strict=True)
        ]

    def _captions(self, tokenizer: Any) -> list[prompts.Caption]:
        config = self.module.config
        limit = min(config.max_text_len, config.text_config.max_position_embeddings)
        parts = prompts.chunks(self.classes, lambda text: len(tokenizer(text).input_ids), limit)
        return [prompts.caption(part) for part in parts]

    def _add_text(self, caption: prompts.Caption, tokenizer: Any) -> None:
        """Store the caption's tokens and the prompt of each token."""
        tokens = tokenizer(
            caption.text,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        offsets = tokens.pop("offset_mapping")[0].tolist()
        owners = torch.full((self.module.config.max_text_len,), prompts.NO_OWNER)
        owners[: len(offsets)] = torch.tensor(prompts.token_owners(caption.spans, offsets))
        self._texts.append(dict(tokens))
        self._owners.append(owners)

    def _run(self, pixels: Tensor, text: dict[str, Tensor]) -> Any:
        tokens = {name: tensor.expand(len(pixels), -1) for name, tensor in text.items()}
        return self.module(pixel_values=pixels, **tokens)

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        size = self._images.size
        resized: tuple[int, int] = get_size_with_aspect_ratio(
            (height, width), size.shortest_edge, size.longest_edge
        )
        return resized

    def _pixels(self, batch: Batch, group: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return the normalized images of one size, as the official processor computes them."""
        images = [
            batch.shared(("fitted", i, size), partial(resizing.resize, batch.pixels()[i], *size))
            for i in group
        ]
        mean = channel_tensor(tuple(self._images.image_mean), batch.device)
        std = channel_tensor(tuple(self._images.image_std), batch.device)
        return (torch.cat(images).float() * self._images.rescale_factor - mean) / std
