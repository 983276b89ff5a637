"""Detectors exported to TFLite for small devices: YOLO and YOLOX.

They measure the effect of quantization on a detector. The layouts are those of `layouts`, with
one exception: Ultralytics exports to TFLite have boxes of the layout yolo relative to the view,
which survive quantization.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from cascade.imaging.batches import Batch
from cascade.models.exported import layouts
from cascade.models.exported.layouts import GridLayout
from cascade.models.exported.litert_file import LitertFile
from cascade.predictions import Detections
from cascade.protocols import Tensors

_MOST_RELATIVE = 2.0  # centers of the outermost cells are near 1, or near the side in pixels


class LitertDetector:
    """Detector of a TFLite file, quantized or not, on the CPU, image by image.

    Args:
        checkpoint: .tflite file, or a folder with exactly one.
        layout: Layout of its tensors; see `layouts`.
        classes: Class names in the order of class numbers, or the name of a predefined list.
        threads: CPU threads; None for torch's number.

    Raises:
        CheckpointError: The file is missing or damaged, or its layout or classes do not match.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        layout: GridLayout = "yolo",
        classes: Sequence[str] | str = "coco",
        threads: int | None = None,
    ) -> None:
        layouts.check_layout(layout, get_args(GridLayout))
        self.module = nn.Identity()
        self.layout: GridLayout = layout
        self.classes = layouts.class_names(classes)
        self._file = LitertFile(checkpoint, threads=threads)
        self.size = self._file.side
        self._is_relative = self._has_relative_boxes()

    def prepare(self, batch: Batch) -> Tensors:
        """Return the letterboxed images, uint8."""
        return {"view": layouts.grid_view(batch, self.size, self.layout)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return the file's output for each image, (B, ...), as real numbers.

        Raises:
            CascadeError: LiteRT failed.
        """
        view: Tensor = tensors["view"]
        if not len(view):
            return torch.zeros(0)
        pixels = layouts.to_pixels(view, self.layout).cpu().numpy()
        outputs = [torch.from_numpy(self._file.run(image[None])) for image in pixels]
        return torch.cat(outputs).to(view.device)

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image, after class-wise suppression."""
        if not len(batch):
            return []
        if self._is_relative:
            raw = torch.cat([raw[:, :4] * self.size, raw[:, 4:]], dim=1)
        return layouts.decode_grid(raw, batch, self.size, self.layout, self.classes)

    def _has_relative_boxes(self) -> bool:
        """Return whether boxes are relative to the view; raise for an output of another layout."""
        black = torch.zeros((1, 3, self.size, self.size), dtype=torch.uint8)
        cells = self.forward({"view": black})
        layouts.check_grid(cells.shape, self.layout, len(self.classes), origin=self._file.path)
        return self.layout == "yolo" and bool(cells[:, :2].max() <= _MOST_RELATIVE)
