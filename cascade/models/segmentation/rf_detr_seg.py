"""RF-DETR from transformers with its mask head: masks and classes of objects in one pass.

Masks have the size of the network's view, about 200 kB each; at the size of a full HD image a
hundred masks would take 200 MB without additional detail. The head's maps have a quarter of the
view's sides; as in the official post-processing, logits are enlarged before the threshold, which
lets an outline cross cells instead of following their borders.

- [0] Robinson et al., RF-DETR: Neural Architecture Search for Real-Time Detection Transformers,
  ICLR 2026
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from transformers import RfDetrForInstanceSegmentation

from cascade.imaging.batches import Batch
from cascade.models.detection.detr import (
    StretchedView,
    class_names,
    keep_float32,
    top_predictions,
)
from cascade.models.huggingface import pretrained
from cascade.models.segmentation.mask_resizing import enlarge_masks
from cascade.predictions import Masks
from cascade.protocols import Tensors


class RfDetrSegmenter:
    """Instance segmenter.

    Args:
        checkpoint: Folder in the hub's format: configuration, processor, safetensors.
        classes: Class names in the order of the outputs, if the checkpoint does not name them.
        min_score: Minimum score of a mask; equals that of boxes in the consensus.

    Raises:
        CheckpointError: The folder is missing, incomplete, of another family, has no mask head, or
            names no classes.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        classes: Sequence[str] | None = None,
        min_score: float = 0.05,
    ) -> None:
        folder = pretrained.check_folder(checkpoint, ("rf_detr",), adapter="rf_detr_seg")
        self._view = StretchedView.from_folder(folder)
        self._min_score = min_score
        self.module = keep_float32(pretrained.load_network(RfDetrForInstanceSegmentation, folder))
        self.classes = class_names(self.module, classes, origin=folder)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalized pixels, (B, 3, H, W), float32."""
        return {"pixel_values": self._view.pixels(batch)}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return logits (B, Q, C) of Q queries, float32, and those of their masks (B, Q, h, w)."""
        pixels: Tensor = tensors["pixel_values"]
        if not len(pixels):  # transformers cannot reshape an empty batch
            logits = pixels.new_zeros(0, 1, len(self.classes))
            return {"logits": logits, "masks": pixels.new_zeros(0, 1, 1, 1)}
        raw = self.module(pixel_values=pixels)
        return {"logits": raw.logits, "masks": raw.pred_masks}

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Masks]:
        """Return the masks of each image, highest score first, as in the official processing."""
        # One transfer from the device per batch instead of one per image.
        predictions = (tensor.cpu() for tensor in top_predictions(raw["logits"]))
        rows = zip(*predictions, raw["masks"], strict=True)
        return [self._masks_of_image(*row) for row in rows]

    def _masks_of_image(
        self, scores: Tensor, class_ids: Tensor, queries: Tensor, maps: Tensor
    ) -> Masks:
        """Return the masks of one image, without empty ones."""
        selected = scores >= self._min_score
        maps = maps[queries[selected].to(maps.device)]
        masks = enlarge_masks(maps, self._view.size, above=0.0)
        filled = masks.any(axis=(1, 2))
        return Masks(
            masks=masks[filled],
            scores=scores[selected].numpy()[filled],
            class_ids=class_ids[selected].numpy()[filled],
            classes=self.classes,
        )
