"""Detectors that were exported to TFLite, as small devices run them: YOLO and YOLOX.

They show what is left of a detector once it is quantised. Layouts are those of
`exported_detection`, but for one thing: ultralytics' exports to TFLite give the boxes of the
layout yolo relative to the view, so that they survive quantisation.
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

_MOST_RELATIVE = 2.0  # the outermost cells' centres: near 1, or near the side in pixels


class LitertDetector:
    """A TFLite file, quantised or not, on the CPU, image by image.

    Args:
        checkpoint: A .tflite file, or a folder that holds exactly one.
        layout: How its tensors are laid out; see `exported_detection`.
        classes: The names, in the order of its class numbers; or the name of a known list.
        threads: That it computes with; None for as many as torch uses.

    Raises:
        CheckpointError: The file is absent, damaged, of another layout, or names other classes.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        layout: GridLayout = "yolo",
        classes: Sequence[str] | str = "coco",
        threads: int | None = None,
    ) -> None:
        layouts.known_layout(layout, get_args(GridLayout))
        self.module = nn.Identity()
        self.layout: GridLayout = layout
        self.classes = layouts.class_names(classes)
        self._file = LitertFile(checkpoint, threads=threads)
        self.size = self._file.side
        self._is_relative = self._probe()

    def prepare(self, batch: Batch) -> Tensors:
        """Return the view that `forward` needs."""
        return {"view": layouts.grid_view(batch, self.size, self.layout)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return the file's answer to each image, (B, ...), in real numbers.

        Raises:
            CascadeError: LiteRT could not compute it.
        """
        view: Tensor = tensors["view"]
        if not len(view):
            return torch.zeros(0)
        pixels = layouts.pixels_of(view, self.layout).cpu().numpy()
        answers = [torch.from_numpy(self._file.run(one[None])) for one in pixels]
        return torch.cat(answers).to(view.device)

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image, after class-wise suppression."""
        if not len(batch):
            return []
        if self._is_relative:
            raw = torch.cat([raw[:, :4] * self.size, raw[:, 4:]], dim=1)
        return layouts.of_grid(raw, batch, self.size, self.layout, self.classes)

    def _probe(self) -> bool:
        """Tell whether boxes are relative to the view; raise where the answer is none of ours."""
        black = torch.zeros((1, 3, self.size, self.size), dtype=torch.uint8)
        cells = self.forward({"view": black})
        layouts.expect_grid(cells.shape, self.layout, len(self.classes), origin=self._file.path)
        return self.layout == "yolo" and bool(cells[:, :2].max() <= _MOST_RELATIVE)
