"""Detectors exported to ONNX: DEIMv2, YOLOX and YOLO; see `layouts`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from cascade.errors import CheckpointError, nearest
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import resize_linear
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
    """Detector of an ONNX file, on CUDA if onnxruntime has that provider, else on the CPU.

    Args:
        checkpoint: .onnx file, or a folder with exactly one.
        layout: Layout of its tensors; see `layouts`.
        classes: Class names in the order of class numbers, or the name of a predefined list.
        size: Height and width of the view, in pixels; None if the file fixes it.
        resize: Downscaling of images: `antialiased`, as in Pillow, or `opencv`, without
            antialiasing, for a file trained or calibrated with it. The default is that of the
            layout's own code: antialiased for deimv2, opencv (the only choice) for the others.
        threads: CPU threads per image; None for torch's number.

    Raises:
        CheckpointError: The file is missing or damaged, or its layout or classes do not match.
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
        layouts.check_layout(layout, _LAYOUTS)
        _check_resize(resize, layout)
        self.module = nn.Identity()
        self.layout: Layout = layout
        self.resize = resize or ("antialiased" if layout == "deimv2" else "opencv")
        self.classes = layouts.class_names(classes)
        self._file = OnnxFile(checkpoint, threads=threads)
        self.size = self._file.side(size)
        if self._file.batch_size not in (1, None):
            raise CheckpointError(
                f"{self._file.path} has a fixed batch size of {self._file.batch_size}; "
                "export it with a batch size of 1, or a dynamic one."
            )
        self._check_outputs()

    def prepare(self, batch: Batch) -> Tensors:
        """Return the images as a square view, uint8."""
        if self.layout != "deimv2":
            return {"view": layouts.grid_view(batch, self.size, self.layout)}
        if self.resize == "opencv":
            return {"view": _linear_view(batch, self.size)}
        return {"view": batch.view(self.size, self.size)}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the file's outputs by name.

        Raises:
            CascadeError: onnxruntime failed.
        """
        view: Tensor = tensors["view"]
        if not len(view):
            return {}
        pixels = layouts.to_pixels(view, self.layout)
        steps = torch.split(pixels, self._file.batch_size or len(pixels))
        outputs = [self._run(step) for step in steps]
        return {
            name: torch.cat([output[name] for output in outputs]).to(view.device)
            for name in outputs[0]
        }

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Detections]:
        """Return the boxes of each image."""
        if not len(batch):
            return []
        if self.layout == "deimv2":
            rows = zip(raw["boxes"], raw["scores"], raw["labels"], strict=True)
            return [to_detections(*row, self.classes, nms_iou=None) for row in rows]
        (cells,) = raw.values()
        return layouts.decode_grid(cells, batch, self.size, self.layout, self.classes)

    def _run(self, pixels: Tensor) -> dict[str, Tensor]:
        inputs = {self._file.inputs[0]: pixels.cpu().numpy().astype(self._file.dtype, copy=False)}
        if self.layout == "deimv2":  # for images of size 1 x 1 its corners are relative
            inputs[self._file.inputs[1]] = np.ones((len(pixels), 2), np.int64)
        return {name: torch.from_numpy(output) for name, output in self._file.run(inputs).items()}

    def _check_outputs(self) -> None:
        """Raise if the file's outputs do not match the layout and the number of classes."""
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
        layouts.check_grid(cells.shape, self.layout, len(self.classes), origin=self._file.path)


def _linear_view(batch: Batch, side: int) -> Tensor:
    """Return all images stretched as in OpenCV, (B, 3, side, side), uint8; cached."""

    def stretch() -> Tensor:
        empty = torch.zeros((0, 3, side, side), dtype=torch.uint8, device=batch.device)
        return torch.cat([empty, *(resize_linear(image, side, side) for image in batch.pixels())])

    return batch.shared(("linear view", side), stretch)


def _check_resize(resize: str | None, layout: Layout) -> None:
    if resize not in (None, *get_args(Resize)):
        raise CheckpointError(
            f"`resize` cannot be {resize!r}. {nearest(str(resize), get_args(Resize))}"
        )
    if resize == "antialiased" and layout != "deimv2":
        raise CheckpointError(
            f"The layout {layout} is trained on letterboxes of OpenCV, without antialiasing; "
            "leave out `resize`."
        )
