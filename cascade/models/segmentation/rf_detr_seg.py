"""RF-DETR with its mask head: outlines and names objects in one pass, as transformers ships it.

Its masks cover the whole image in the size of the view that it works on: some 200 kB each. The head
draws at a quarter of that; its logits are enlarged before they are cut, as the official
post-processing does, so that an outline runs through the head's cells and not around them. In the
size of a full HD image a hundred masks would take 200 MB and show nothing that the model saw.

- [0] Robinson et al., RF-DETR: Neural Architecture Search for Real-Time Detection Transformers,
  ICLR 2026
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from transformers import RfDetrForInstanceSegmentation

from cascade.imaging.batches import Batch
from cascade.models.detection.detr import Stretched, class_names, precise, surest
from cascade.models.huggingface import pretrained
from cascade.models.segmentation.mask_resizing import enlarged
from cascade.predictions import Masks
from cascade.protocols import Tensors


class RfDetrSegmenter:
    """The segmenter.

    Args:
        checkpoint: A folder as the hub has it: configuration, processor, safetensors.
        classes: What it names, in the order of its outputs, where the checkpoint does not say.
        min_score: Masks below are left out; as boxes in the consensus.

    Raises:
        CheckpointError: The folder is absent, incomplete or another family's, has no mask head, or
            names no classes.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        classes: Sequence[str] | None = None,
        min_score: float = 0.05,
    ) -> None:
        folder = pretrained.folder_of(checkpoint, ("rf_detr",), adapter="rf_detr_seg")
        self._stretched = Stretched.of(folder)
        self._min_score = min_score
        self.module = precise(pretrained.network(RfDetrForInstanceSegmentation, folder))
        self.classes = class_names(self.module, classes, origin=folder)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalised pixels, (B, 3, H, W), float32."""
        return {"pixel_values": self._stretched.pixels(batch)}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return logits (B, Q, C) of Q queries, float32, and those of their masks (B, Q, h, w)."""
        pixels: Tensor = tensors["pixel_values"]
        if not len(pixels):  # which transformers cannot reshape
            return {
                "logits": pixels.new_zeros(0, 1, len(self.classes)),
                "masks": pixels.new_zeros(0, 1, 1, 1),
            }
        raw = self.module(pixel_values=pixels)
        return {"logits": raw.logits, "masks": raw.pred_masks}

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Masks]:
        """Return the masks of each image, surest first, as the official post-processing does."""
        found = (one.cpu() for one in surest(raw["logits"]))  # once a batch, not once an image
        rows = zip(*found, raw["masks"], strict=True)
        return [self._of_image(*row) for row in rows]

    def _of_image(self, scores: Tensor, class_ids: Tensor, queries: Tensor, maps: Tensor) -> Masks:
        """Return the masks of one image; one without a single pixel is none."""
        sure = scores >= self._min_score
        masks = enlarged(maps[queries[sure].to(maps.device)], self._stretched.size, above=0.0)
        seen = masks.any(axis=(1, 2))
        return Masks(
            masks=masks[seen],
            scores=scores[sure].numpy()[seen],
            class_ids=class_ids[sure].numpy()[seen],
            classes=self.classes,
        )
