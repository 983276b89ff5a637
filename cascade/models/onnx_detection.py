"""Detectors that were exported to ONNX: DEIMv2, YOLOX and YOLO, by the layout of their tensors.

    deimv2   in: RGB/255, stretched; the image's size. out: labels, boxes, scores
    yolox    in: BGR 0..255, letterboxed at the top left. out: (B, K, 5 + C), relative to cells
    yolo     in: RGB/255, letterboxed in the middle. out: (B, 4 + C, K), centre and sides, pixels

- [0] Huang et al., Real-Time Object Detection Meets DINOv3 (DEIMv2), 2025
- [1] Ge et al., YOLOX: Exceeding YOLO Series in 2021, 2021
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from cascade.errors import CheckpointError, nearest
from cascade.images import Batch
from cascade.model import Tensors
from cascade.models import coco
from cascade.models.detecting import to_detections
from cascade.models.linear_letterbox import Style, linear_letterbox
from cascade.models.onnx_file import OnnxFile
from cascade.models.suppression import suppressed, to_corners
from cascade.predictions import Detections

Layout = Literal["deimv2", "yolox", "yolo"]
VOCABULARIES = {"coco": coco.NAMES}
_LETTERBOXES: dict[str, Style] = {"yolox": "yolox", "yolo": "ultralytics"}
_DEIMV2_OUTPUTS = {"labels", "boxes", "scores"}
_STRIDES = (8, 16, 32)


class OnnxDetector:
    """An ONNX file, on CUDA where onnxruntime's provider is installed, else on the CPU.

    Args:
        checkpoint: An .onnx file, or a folder that holds exactly one.
        layout: How its tensors are laid out; see the module.
        classes: The names, in the order of its class numbers; or the name of a known list.
        size: Height and width of the view, in pixels; None where the file fixes it.
        threads: That one image is computed with on the CPU; None for as many as torch uses.

    Raises:
        CheckpointError: The file is absent, damaged, of another layout, or names other classes.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        layout: Layout,
        classes: Sequence[str] | str = "coco",
        size: int | None = None,
        threads: int | None = None,
    ) -> None:
        if layout not in get_args(Layout):
            raise CheckpointError(
                f"There is no layout {layout!r}. {nearest(layout, get_args(Layout))}"
            )
        self.module = nn.Identity()
        self.layout = layout
        self.classes = _names(classes)
        self._file = OnnxFile(checkpoint, threads=threads)
        self.size = self._file.side(size)
        if self._file.batch_size not in (1, None):
            raise CheckpointError(
                f"{self._file.path} takes exactly {self._file.batch_size} images at a time; "
                "export it with a batch of 1, or with a dynamic one."
            )
        self._expect_fit()

    def prepare(self, batch: Batch) -> Tensors:
        """Return the view that `forward` needs."""
        if self.layout == "deimv2":
            return {"view": batch.view(self.size, self.size)}
        return {"view": linear_letterbox(batch, self.size, _LETTERBOXES[self.layout])[0]}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the file's outputs by name.

        Raises:
            CascadeError: onnxruntime could not compute them.
        """
        view: Tensor = tensors["view"]
        if not len(view):
            return {}
        pixels = view.flip(1).float() if self.layout == "yolox" else view.float() / 255
        parts = [
            self._run(one) for one in torch.split(pixels, self._file.batch_size or len(pixels))
        ]
        return {
            name: torch.cat([part[name] for part in parts]).to(view.device) for name in parts[0]
        }

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Detections]:
        """Return the boxes of each image."""
        if not len(batch):
            return []
        if self.layout == "deimv2":
            found = zip(raw["boxes"], raw["scores"], raw["labels"], strict=True)
            return [to_detections(*one, self.classes, nms_iou=None) for one in found]
        _, insets = linear_letterbox(batch, self.size, _LETTERBOXES[self.layout])
        (cells,) = raw.values()
        if self.layout == "yolo":
            rows = cells.float().transpose(1, 2)
            boxes, scores = torch.split(rows, [4, len(self.classes)], dim=2)
            return suppressed(to_corners(boxes), scores, insets, self.classes)
        boxes, objectness, scores = torch.split(cells.float(), [4, 1, len(self.classes)], dim=2)
        return suppressed(_of_cells(boxes, self.size), objectness * scores, insets, self.classes)

    def _run(self, pixels: Tensor) -> dict[str, Tensor]:
        given = {self._file.inputs[0]: pixels.cpu().numpy().astype(self._file.dtype, copy=False)}
        if self.layout == "deimv2":  # told that images are 1 x 1, it answers in relative corners
            given[self._file.inputs[1]] = np.ones((len(pixels), 2), np.int64)
        return {name: torch.from_numpy(one) for name, one in self._file.run(given).items()}

    def _expect_fit(self) -> None:
        """Raise where the file's outputs are not of the layout, with as many classes."""
        names = set(self._file.outputs)
        if self.layout == "deimv2":
            if names != _DEIMV2_OUTPUTS or len(self._file.inputs) != 2:
                raise CheckpointError(
                    f"{self._file.path}: the layout deimv2 has the inputs images and "
                    "orig_target_sizes and the outputs labels, boxes and scores; this file has "
                    f"{', '.join(self._file.inputs)} and {', '.join(self._file.outputs)}."
                )
            return
        if len(names) != 1 or len(self._file.inputs) != 1:
            raise CheckpointError(
                f"{self._file.path}: the layout {self.layout} has one input and one output; this "
                f"file has {', '.join(self._file.inputs)} and {', '.join(self._file.outputs)}."
            )
        black = torch.zeros((1, 3, self.size, self.size), dtype=torch.uint8)
        (cells,) = self.forward({"view": black}).values()
        axis, channels = (2, 5) if self.layout == "yolox" else (1, 4)
        if cells.ndim != 3 or cells.shape[axis] != channels + len(self.classes):
            raise CheckpointError(
                f"{self._file.path}: the layout {self.layout} with {len(self.classes)} classes has "
                f"{channels + len(self.classes)} channels on axis {axis} of three; this file "
                f"answers in the shape {tuple(cells.shape)}."
            )


def _of_cells(boxes: Tensor, side: int) -> Tensor:
    """Return corners in pixels of boxes that are relative to cells, in units of their stride [1].

    The cells of each stride follow each other row by row.
    """
    origins, strides = [], []
    for stride in _STRIDES:
        axis = torch.arange(side // stride, device=boxes.device)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        origins.append(torch.stack([x, y], dim=-1).reshape(-1, 2))
        strides.append(boxes.new_full((len(origins[-1]), 1), stride))
    scales = torch.cat(strides)
    centres = (boxes[..., :2] + torch.cat(origins)) * scales
    return to_corners(torch.cat([centres, boxes[..., 2:].exp() * scales], dim=-1))


def _names(classes: Sequence[str] | str) -> tuple[str, ...]:
    if not isinstance(classes, str):
        return tuple(classes)
    if classes not in VOCABULARIES:
        raise CheckpointError(
            f"There is no list of classes {classes!r}. {nearest(classes, VOCABULARIES)}"
        )
    return VOCABULARIES[classes]
