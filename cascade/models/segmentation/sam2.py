"""SAM 2.1 of transformers: outlines the object in each box that earlier tiers found.

The vision tower runs once an image, over the batch; images without boxes are left out. The
light decoder then takes the boxes of all images together, each beside its own image's features,
a bounded number at a time, so nothing is padded however the boxes are spread.

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
from cascade.models.huggingface import image_processor, pretrained
from cascade.models.segmentation import mask_resizing
from cascade.predictions import Masks
from cascade.protocols import Tensors

ADAPTER = "sam2"
FAMILIES = ("sam2", "sam2_video")  # the published folders are the video model's
BOXES_AT_ONCE = 32  # in the decoder, which needs some 50 MB a box in float32
_INSIDE = 0.0  # logit from which a pixel belongs to a mask, as in the official processing


class Sam2:
    """The segmenter, prompted by `batch.found`: one mask a box, in the boxes' order.

    A map of an image has its size, or less where that exceeds `longest_side`; masks take
    H x W bytes each: 100 boxes of a 1280 x 720 frame 92 MB. Scores are the overlap with the
    true outline that the network itself expects.

    Args:
        checkpoint: A snapshot of a hub repository, or what `save_pretrained` wrote.
        longest_side: Of the maps, in pixels.

    Raises:
        CheckpointError: The checkpoint is absent, not whole or another family's.
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self, checkpoint: Path | None = None, *, longest_side: int = mask_resizing.LONGEST_SIDE
    ) -> None:
        folder = pretrained.folder_of(checkpoint, FAMILIES, adapter=ADAPTER)
        self._processor = image_processor.read(folder)
        self._longest_side = longest_side
        model = pretrained.network(Sam2Model, folder)
        self.module = _BoxSegmenter(model)
        # In bf16 a corner moves in steps of two of 1024 pixels, a distant cone has ten: boxes are
        # encoded outside the module, in float32, whatever its precision.
        self._encoder = model.prompt_encoder
        del model.prompt_encoder

    def prepare(self, batch: Batch) -> Tensors:
        """Return the images that have boxes, and the boxes of all of them.

        `pixels` has shape (B', 3, 1024, 1024), `owners` (M,) tells which of the B' images a box
        is of, `prompts` (M, 1, 3, D) are the encoded boxes.
        """
        chosen = [i for i, found in enumerate(batch.found) if len(found)]
        height, width = self._processor.size
        if not chosen:
            nothing = torch.zeros((0, 3, height, width), device=batch.device)
            return {"pixels": nothing, "owners": nothing.new_zeros(0, dtype=torch.long)}
        found = [batch.found[i] for i in chosen]
        owners = np.repeat(np.arange(len(found)), [len(one) for one in found])
        corners = np.concatenate([one.boxes_xyxy for one in found])
        boxes = torch.from_numpy(corners * [width, height, width, height]).float()
        with torch.autocast("cpu", enabled=False):
            prompts, _ = self._encoder(None, None, boxes[:, None], None)
        return {
            "pixels": self._processor.normalised(self._processor.view(batch)[chosen]),
            "owners": torch.from_numpy(owners).to(batch.device, non_blocking=True),
            "prompts": prompts.to(batch.device, non_blocking=True),
        }

    def forward(self, tensors: Tensors) -> Any:
        """Return `maps`, logits of shape (M, 256, 256), and `scores`, shape (M,), of all boxes."""
        if not len(tensors["pixels"]):
            return {"maps": tensors["pixels"][:, 0], "scores": tensors["pixels"][:, 0, 0, 0]}
        return self.module(**tensors)

    def decode(self, raw: Any, batch: Batch) -> list[Masks]:
        """Return one mask a box, in the boxes' order; nothing for an image without boxes."""
        scores = raw["scores"].float().clamp(0, 1).cpu().numpy()
        results: list[Masks] = []
        start = 0
        for i, (height, width) in enumerate(batch.sizes):
            found = batch.found[i] if batch.found else None
            if found is None or not len(found):
                results.append(Masks.empty(found.classes if found is not None else ()))
                continue
            stop = start + len(found)
            size = mask_resizing.map_size(height, width, self._longest_side)
            results.append(
                Masks(
                    masks=mask_resizing.enlarged(raw["maps"][start:stop], size, above=_INSIDE),
                    scores=scores[start:stop],
                    class_ids=found.class_ids,
                    classes=found.classes,
                )
            )
            start = stop
        return results


class _BoxSegmenter(nn.Module):
    """The network from pixels and encoded boxes to masks."""

    positions: Tensor
    no_mask: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        # Encoded once, before the weights lose precision.
        positions = model.get_image_wide_positional_embeddings()
        self.register_buffer("positions", positions, persistent=False)
        no_mask = model.prompt_encoder.no_mask_embed.weight.detach().reshape(1, -1, 1, 1)
        self.register_buffer("no_mask", no_mask.expand_as(positions).clone(), persistent=False)

    def forward(self, pixels: Tensor, owners: Tensor, prompts: Tensor) -> dict[str, Tensor]:
        dtype = self.positions.dtype
        features = self.model.get_image_embeddings(pixels.to(dtype))
        parts = zip(*(torch.split(one, BOXES_AT_ONCE) for one in (owners, prompts)), strict=True)
        masks, scores = zip(
            *(self._of_boxes([one[of] for one in features], box.to(dtype)) for of, box in parts),
            strict=True,
        )
        return {"maps": torch.cat(masks), "scores": torch.cat(scores)}

    def _of_boxes(self, features: list[Tensor], prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return one map and one score of each box, beside its image's features."""
        masks, scores, _, _ = self.model.mask_decoder(
            image_embeddings=features[-1],
            image_positional_embeddings=self.positions.expand(len(prompts), -1, -1, -1),
            sparse_prompt_embeddings=prompts,
            dense_prompt_embeddings=self.no_mask.expand(len(prompts), -1, -1, -1),
            multimask_output=False,  # a box says well enough which object is meant [0]
            high_resolution_features=features[:-1],
        )
        return masks[:, 0, 0], scores[:, 0, 0]
