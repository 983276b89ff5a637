"""Grounding DINO, MM-Grounding-DINO and LLMDet: prompts and image are fused, boxes name tokens.

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

# Without it every deformable attention waits for the device once: read when it is called.
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")

from transformers.image_transforms import center_to_corners_format, get_size_with_aspect_ratio

from cascade.errors import CheckpointError
from cascade.imaging import resizing
from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import to_detections
from cascade.models.huggingface import prompts as prompting
from cascade.models.huggingface.zero_shot import open_folder
from cascade.predictions import Detections
from cascade.protocols import Tensors
from cascade.taxonomy import Taxonomy

ADAPTER = "grounding_dino"
FAMILIES = ("grounding-dino", "mm-grounding-dino")
TEXT_THRESHOLD = 0.25  # the least score of a word in a box's phrase: the official default


class GroundingDino:
    """The detector, asked for the prompts of a taxonomy.

    Images keep their proportions. Those that come out at one size are computed together, those
    of other sizes apart: padded to a common size, as the official processor does it, what a
    model says of an image would depend on its neighbours.

    Prompts that do not fit into one text are asked for in several, each a pass of its own.

    Args:
        checkpoint: The folder of a published model.
        taxonomy: Whose prompts are asked for.

    Raises:
        CheckpointError: The folder is absent, incomplete, or another family's.
        TaxonomyError: A prompt is too long for the model.
    """

    def __init__(self, checkpoint: Path | None = None, *, taxonomy: Taxonomy) -> None:
        self.module, processor = open_folder(checkpoint, FAMILIES, adapter=ADAPTER)
        self.classes = prompting.prompts_of(taxonomy)
        self._images = processor.image_processor
        if not (self._images.size.shortest_edge and self._images.size.longest_edge):
            raise CheckpointError(
                f"{checkpoint}: the image processor's size must be given by `shortest_edge` and "
                f"`longest_edge`, got {self._images.size}."
            )
        self._texts: list[dict[str, Tensor]] = []
        self._owners: list[Tensor] = []
        for part in self._captions(processor.tokenizer):
            self._add_text(part, processor.tokenizer)

    def prepare(self, batch: Batch) -> Tensors:
        """Return pixels by size, where each image went, and the texts."""
        sizes = [self._size_of(*size) for size in batch.sizes]
        groups = [
            [i for i, size in enumerate(sizes) if size == one] for one in dict.fromkeys(sizes)
        ]
        order = torch.tensor([i for group in groups for i in group], dtype=torch.long)
        return {
            "pixels": [self._pixels(batch, group, sizes[group[0]]) for group in groups],
            "places": order.argsort().to(batch.device, non_blocking=True),
            "texts": [_moved(text, batch.device) for text in self._texts],
        }

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return `logits` of queries and tokens, and `boxes`, a row of both for each text.

        B images, K texts, Q queries, T tokens: shapes (B, K, Q, T) and (B, K, Q, 4); boxes
        are relative centres and sides.
        """
        config = self.module.config
        shape = (0, len(self._texts), config.num_queries)
        logits = [tensors["places"].new_zeros((*shape, config.max_text_len), dtype=torch.float)]
        boxes = [tensors["places"].new_zeros((*shape, 4), dtype=torch.float)]
        for pixels in tensors["pixels"]:
            said = [self._ask(pixels, text) for text in tensors["texts"]]
            logits.append(torch.stack([one.logits for one in said], dim=1).float())
            boxes.append(torch.stack([one.pred_boxes for one in said], dim=1).float())
        places = tensors["places"]
        return {"logits": torch.cat(logits)[places], "boxes": torch.cat(boxes)[places]}

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Detections]:
        """Return the surest queries of each image; there is nothing to suppress."""
        class_ids, scores, first = [], [], 0
        for logits, owners in zip(raw["logits"].unbind(dim=1), self._owners, strict=True):
            prompts = int(owners.max()) + 1
            chosen, score = prompting.likeliest(
                logits, owners.to(logits.device), prompts, TEXT_THRESHOLD
            )
            class_ids.append(chosen + first)
            scores.append(score)
            first += prompts
        boxes = center_to_corners_format(raw["boxes"].flatten(1, 2))
        return [
            to_detections(*one, self.classes, nms_iou=None)
            for one in zip(boxes, torch.cat(scores, 1), torch.cat(class_ids, 1), strict=True)
        ]

    def _captions(self, tokenizer: Any) -> list[prompting.Caption]:
        config = self.module.config
        limit = min(config.max_text_len, config.text_config.max_position_embeddings)
        parts = prompting.chunks(self.classes, lambda text: len(tokenizer(text).input_ids), limit)
        return [prompting.caption(part) for part in parts]

    def _add_text(self, caption: prompting.Caption, tokenizer: Any) -> None:
        """Keep the caption's tokens, and which prompt each of them belongs to."""
        tokens = tokenizer(
            caption.text,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        offsets = tokens.pop("offset_mapping")[0].tolist()
        owners = torch.full((self.module.config.max_text_len,), prompting.NOBODY)
        owners[: len(offsets)] = torch.tensor(prompting.owners(caption.spans, offsets))
        self._texts.append(dict(tokens))
        self._owners.append(owners)

    def _ask(self, pixels: Tensor, text: dict[str, Tensor]) -> Any:
        said = {name: one.expand(len(pixels), -1) for name, one in text.items()}
        return self.module(pixel_values=pixels, **said)

    def _size_of(self, height: int, width: int) -> tuple[int, int]:
        size = self._images.size
        fitted: tuple[int, int] = get_size_with_aspect_ratio(
            (height, width), size.shortest_edge, size.longest_edge
        )
        return fitted

    def _pixels(self, batch: Batch, group: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Return one size's images as the official processor hands them over."""
        images = [
            batch.shared(("fitted", i, size), partial(resizing.resized, batch.pixels()[i], *size))
            for i in group
        ]
        mean, std = (
            torch.tensor(one).to(batch.device, non_blocking=True)[:, None, None]
            for one in (self._images.image_mean, self._images.image_std)
        )
        return (torch.cat(images).float() * self._images.rescale_factor - mean) / std


def _moved(text: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: one.to(device, non_blocking=True) for name, one in text.items()}
