"""SAM 2.1 from transformers: masks of the objects in the boxes of earlier tiers.

The vision tower runs once per image, on the batch; images without boxes are skipped. The light
decoder then processes the boxes of all images together, each with its own image's features, in
steps of bounded size and without padding.

- [0] Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Sam2Model

from cascade.imaging.batches import Batch
from cascade.models.huggingface import pretrained
from cascade.models.segmentation import mask_resizing
from cascade.predictions import Masks
from cascade.protocols import Tensors

ADAPTER = "sam2"
FAMILIES = ("sam2", "sam2_video")  # published folders have the video model's type
BOXES_PER_STEP = 32  # boxes per decoder call, which needs about 50 MB per box in float32
_INSIDE = 0.0  # logit threshold of a mask's pixels, as in the official processing


class Sam2:
    """Segmenter prompted by `batch.detections`: one mask per box, in the boxes' order.

    A mask has the image's size, scaled down to `longest_side` if larger, and takes H x W bytes:
    92 MB for 100 boxes of a 1280 x 720 frame. Scores are the network's own estimates of the
    overlap with the true outline.

    Args:
        checkpoint: Snapshot of a hub repository, or a folder written by `save_pretrained`.
        longest_side: Longest side of the masks, in pixels.

    Raises:
        CheckpointError: The checkpoint is missing, incomplete, or for another model family.
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self, checkpoint: Path | None = None, *, longest_side: int = mask_resizing.LONGEST_SIDE
    ) -> None:
        _, self._view, model = pretrained.open_vision_model(
            Sam2Model, checkpoint, FAMILIES, adapter=ADAPTER
        )
        self._longest_side = longest_side
        self.module = _BoxSegmenter(model)
        # In bf16 a corner moves in steps of two of 1024 pixels, and a distant cone has ten: boxes
        # are encoded outside the module, always in float32.
        self._encoder = model.prompt_encoder
        del model.prompt_encoder

    def prepare(self, batch: Batch) -> Tensors:
        """Return the images with boxes, and all boxes.

        `pixels` has shape (B', 3, 1024, 1024), `owners` (M,) is the row in it of each box's image,
        `prompts` (M, 1, 3, D) are the encoded boxes.
        """
        height, width = self._view.size
        rows = [i for i, detections in enumerate(batch.detections) if len(detections)]
        if not rows:
            empty = torch.zeros((0, 3, height, width), device=batch.device)
            return {"pixels": empty, "owners": empty.new_zeros(0, dtype=torch.long)}
        prompting = [batch.detections[i] for i in rows]
        owners = np.repeat(np.arange(len(rows)), [len(detections) for detections in prompting])
        corners = np.concatenate([detections.boxes_xyxy for detections in prompting])
        boxes = torch.from_numpy(corners * [width, height, width, height]).float()
        with torch.autocast("cpu", enabled=False):
            prompts, _ = self._encoder(None, None, boxes[:, None], None)
        return {
            "pixels": self._view.normalize(self._view.view(batch)[rows]),
            "owners": torch.from_numpy(owners).to(batch.device, non_blocking=True),
            "prompts": prompts.to(batch.device, non_blocking=True),
        }

    def forward(self, tensors: Tensors) -> Any:
        """Return `maps`, logits of shape (M, 256, 256), and `scores`, shape (M,), of all boxes."""
        if not len(tensors["pixels"]):
            return {"maps": tensors["pixels"][:, 0], "scores": tensors["pixels"][:, 0, 0, 0]}
        return self.module(**tensors)

    def decode(self, raw: Any, batch: Batch) -> list[Masks]:
        """Return one mask per box, in the boxes' order; images without boxes get no mask."""
        scores = raw["scores"].float().clamp(0, 1).cpu().numpy()
        results: list[Masks] = []
        start = 0
        for i, (height, width) in enumerate(batch.sizes):
            detections = batch.detections[i] if batch.detections else None
            if detections is None or not len(detections):
                results.append(Masks.empty(detections.classes if detections is not None else ()))
                continue
            stop = start + len(detections)
            size = mask_resizing.map_size(height, width, self._longest_side)
            results.append(
                Masks(
                    masks=mask_resizing.enlarge_masks(raw["maps"][start:stop], size, above=_INSIDE),
                    scores=scores[start:stop],
                    class_ids=detections.class_ids,
                    classes=detections.classes,
                )
            )
            start = stop
        return results


class _BoxSegmenter(nn.Module):
    """Network from pixels and encoded boxes to masks."""

    positions: Tensor
    no_mask: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        # Computed once, before the weights lose precision.
        positions = model.get_image_wide_positional_embeddings()
        self.register_buffer("positions", positions, persistent=False)
        no_mask = model.prompt_encoder.no_mask_embed.weight.detach().reshape(1, -1, 1, 1)
        self.register_buffer("no_mask", no_mask.expand_as(positions).clone(), persistent=False)

    def forward(self, pixels: Tensor, owners: Tensor, prompts: Tensor) -> dict[str, Tensor]:
        dtype = self.positions.dtype
        features = self.model.get_image_embeddings(pixels.to(dtype))
        steps = zip(
            torch.split(owners, BOXES_PER_STEP), torch.split(prompts, BOXES_PER_STEP), strict=True
        )
        masks, scores = zip(
            *(
                self._decode_boxes([level[rows] for level in features], boxes.to(dtype))
                for rows, boxes in steps
            ),
            strict=True,
        )
        return {"maps": torch.cat(masks), "scores": torch.cat(scores)}

    def _decode_boxes(self, features: list[Tensor], prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return one map and one score per box, given the features of each box's image."""
        masks, scores, _, _ = self.model.mask_decoder(
            image_embeddings=features[-1],
            image_positional_embeddings=self.positions.expand(len(prompts), -1, -1, -1),
            sparse_prompt_embeddings=prompts,
            dense_prompt_embeddings=self.no_mask.expand(len(prompts), -1, -1, -1),
            multimask_output=False,  # a box is an unambiguous prompt [0]
            high_resolution_features=features[:-1],
        )
        return masks[:, 0, 0], scores[:, 0, 0]
