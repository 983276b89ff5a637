"""OWLv2: every image patch predicts a box, classified by the nearest prompt embedding.

- [0] Minderer et al., Scaling Open-Vocabulary Object Detection, NeurIPS 2023
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur
from transformers.image_transforms import center_to_corners_format

from cascade.errors import TaxonomyError
from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import NMS_IOU, to_detections
from cascade.models.huggingface.image_processor import channel_tensor
from cascade.models.huggingface.prompts import prompts_of
from cascade.models.huggingface.zero_shot import open_folder
from cascade.predictions import Detections
from cascade.protocols import Tensors
from cascade.taxonomy import Taxonomy

ADAPTER = "owlv2"
FAMILIES = ("owlv2",)


class Owlv2:
    """Open-vocabulary detector, prompted with a taxonomy.

    Prompts are embedded once, then the text tower is dropped: `module` processes images only.

    Args:
        checkpoint: Folder in the hub's format.
        taxonomy: Taxonomy with the prompts.

    Raises:
        CheckpointError: The folder is missing or incomplete, or contains another model.
        TaxonomyError: A prompt exceeds the model's limit.
    """

    def __init__(self, checkpoint: Path | None = None, *, taxonomy: Taxonomy) -> None:
        network, processor = open_folder(checkpoint, FAMILIES, adapter=ADAPTER)
        self.classes = prompts_of(taxonomy)
        self._images = processor.image_processor
        queries = _embed_prompts(network, processor.tokenizer, self.classes)
        self.module = _ImageTower(network, queries)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels as the official processor computes them, (B, 3, side, side)."""
        side = self._images.size.height
        empty = torch.zeros((0, 3, side, side), device=batch.device)
        squares = [
            _square(image.float() * self._images.rescale_factor, side) for image in batch.pixels()
        ]
        mean = channel_tensor(tuple(self._images.image_mean), batch.device)
        std = channel_tensor(tuple(self._images.image_std), batch.device)
        return {"pixels": (torch.cat([empty, *squares]) - mean) / std}

    def forward(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Return logits of patches and prompts, (B, Q, C), and boxes of patches, (B, Q, 4)."""
        pixels = tensors["pixels"]
        if not len(pixels):  # transformers cannot reshape an empty batch
            return pixels.new_zeros((0, 1, len(self.classes))), pixels.new_zeros((0, 1, 4))
        outputs: tuple[Tensor, Tensor] = self.module(pixels)
        return outputs

    def decode(self, raw: tuple[Tensor, Tensor], batch: Batch) -> list[Detections]:
        """Return the boxes of each image, each with its likeliest prompt."""
        logits, centers = raw
        best, class_ids = logits.float().max(dim=-1)
        boxes = center_to_corners_format(centers.float())
        results = []
        for i, (height, width) in enumerate(batch.sizes):
            sides = boxes.new_tensor([width, height, width, height])
            corners = boxes[i] * max(height, width) / sides  # the image is at the top left
            scores = best[i].sigmoid() * (corners[:, :2] < 1).all(dim=1)  # not in the border
            # Neighboring patches detect the same object: without suppression, a few objects would
            # fill the 100 boxes.
            results.append(
                to_detections(corners, scores, class_ids[i], self.classes, nms_iou=NMS_IOU)
            )
        return results


class _ImageTower(nn.Module):
    """Image tower, and heads in fp32: a bf16 corner is accurate to a few pixels at best."""

    queries: Tensor

    def __init__(self, network: Any, queries: Tensor) -> None:
        super().__init__()
        network.owlv2.text_model = nn.Identity()
        network.owlv2.text_projection = nn.Identity()
        self.network = network
        self.register_buffer("queries", queries)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        grid, _ = self.network.image_embedder(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            grid = grid.float()
            patches = grid.flatten(1, 2)
            queries = self.queries.expand(len(patches), -1, -1)
            logits, _ = self.network.class_predictor(patches, queries)
            return logits, self.network.box_predictor(patches, grid)


def _embed_prompts(network: Any, tokenizer: Any, prompts: tuple[str, ...]) -> Tensor:
    """Return the embeddings of the prompts, (C, D), of length 1."""
    limit = network.config.text_config.max_position_embeddings
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > limit:
            raise TaxonomyError(
                f"The prompt {prompt!r} must have at most {limit} tokens, got {len(ids)}. "
                "Shorten it."
            )
    tokens = tokenizer(list(prompts), padding="max_length", max_length=limit, return_tensors="pt")
    with torch.no_grad():
        output = network.owlv2.get_text_features(tokens.input_ids, tokens.attention_mask)
    return functional.normalize(output.pooler_output, dim=-1)


def _square(pixels: Tensor, side: int) -> Tensor:
    """Return an image, (1, 3, H, W), at the top left of a black square, resized to `side`.

    Before downscaling it is blurred, with the deviation of scikit-image's `resize` [0].
    """
    height, width = pixels.shape[-2:]
    longest = max(height, width)
    square = functional.pad(pixels, (0, longest - width, 0, longest - height))
    deviation = (longest / side - 1) / 2
    if deviation > 0:
        taps = 2 * math.ceil(3 * deviation) + 1
        square = gaussian_blur(square, [taps, taps], [deviation, deviation])
    return functional.interpolate(square, (side, side), mode="bilinear", align_corners=False)
