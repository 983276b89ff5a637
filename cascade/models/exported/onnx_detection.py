"""Detectors that were exported to ONNX: DEIMv2, YOLOX and YOLO; see `exported_detection`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from cascade.errors import CheckpointError, nearest
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import linearly_resized
from cascade.models.detection.detector_head import to_detections
from cascade.models.exported import layouts
from cascade.models.exported.layouts import GridLayout, Layout
from cascade.models.exported.onnx_file import OnnxFile
from cascade.predictions import Detections
from cascade.protocols import Tensors

Resize = Literal["antialiased", "opencv"]
_LAYOUTS = ("deimv2", *get_args(GridLayout))
_DEIMV2_OUTPUTS = {"labels", "boxes", "scores"}


class OnnxDetector:
    """An ONNX file, on CUDA where onnxruntime's provider is installed, else on the CPU.

    Args:
        checkpoint: An .onnx file, or a folder that holds exactly one.
        layout: How its tensors are laid out; see `exported_detection`.
        classes: The names, in the order of its class numbers; or the name of a known list.
        size: Height and width of the view, in pixels; None where the file fixes it.
        resize: How images are made smaller: `antialiased`, as Pillow does it, or `opencv`, without,
            for a file that was trained or calibrated so. None is what the layout's own code does:
            antialiased for deimv2; for yolox and yolo opencv, and they know nothing else.
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
        resize: Resize | None = None,
        threads: int | None = None,
    ) -> None:
        layouts.known_layout(layout, _LAYOUTS)
        _expect_resize(resize, layout)
        self.module = nn.Identity()
        self.layout: Layout = layout
        self.resize = resize or ("antialiased" if layout == "deimv2" else "opencv")
        self.classes = layouts.class_names(classes)
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
        if self.layout != "deimv2":
            return {"view": layouts.grid_view(batch, self.size, self.layout)}
        if self.resize == "opencv":
            return {"view": _linear_view(batch, self.size)}
        return {"view": batch.view(self.size, self.size)}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the file's outputs by name.

        Raises:
            CascadeError: onnxruntime could not compute them.
        """
        view: Tensor = tensors["view"]
        if not len(view):
            return {}
        pixels = layouts.pixels_of(view, self.layout)
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
        (cells,) = raw.values()
        return layouts.of_grid(cells, batch, self.size, self.layout, self.classes)

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
        layouts.expect_grid(cells.shape, self.layout, len(self.classes), origin=self._file.path)


def _linear_view(batch: Batch, side: int) -> Tensor:
    """Return all images stretched as OpenCV does it, (B, 3, side, side), uint8; cached."""

    def stretch() -> Tensor:
        nothing = torch.zeros((0, 3, side, side), dtype=torch.uint8, device=batch.device)
        return torch.cat([nothing, *(linearly_resized(one, side, side) for one in batch.pixels())])

    return batch.shared(("linear view", side), stretch)


def _expect_resize(resize: str | None, layout: Layout) -> None:
    if resize not in (None, *get_args(Resize)):
        raise CheckpointError(
            f"`resize` cannot be {resize!r}. {nearest(str(resize), get_args(Resize))}"
        )
    if resize == "antialiased" and layout != "deimv2":
        raise CheckpointError(
            f"The layout {layout} is letterboxed as OpenCV does it, without antialiasing, for so "
            "it is trained; leave out `resize`."
        )
