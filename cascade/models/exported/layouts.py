"""Layouts of the input and output tensors of exported detectors.

    deimv2   in: RGB/255, stretched; the image's size. out: labels, boxes, scores
    yolox    in: BGR 0..255, letterboxed at the top left. out: (B, K, 5 + C), relative to cells
    yolo     in: RGB/255, letterboxed in the middle. out: (B, 4 + C, K), center and sides, pixels

The last two have one output per grid cell. A layout is independent of the file's format.

- [0] Huang et al., Real-Time Object Detection Meets DINOv3 (DEIMv2), 2025
- [1] Ge et al., YOLOX: Exceeding YOLO Series in 2021, 2021
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import box_convert

from cascade.errors import CheckpointError, nearest
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import Style, linear_letterbox
from cascade.models.detection.nms import class_wise_nms
from cascade.models.exported import coco_classes
from cascade.predictions import Detections

GridLayout = Literal["yolox", "yolo"]
Layout = Literal["deimv2", GridLayout]
VOCABULARIES = {"coco": coco_classes.NAMES}
_LETTERBOXES: dict[GridLayout, Style] = {"yolox": "yolox", "yolo": "ultralytics"}
_STRIDES = (8, 16, 32)


def check_layout(layout: str, layouts: Sequence[str]) -> None:
    """Check that a layout is one of `layouts`.

    Raises:
        CheckpointError: The layout is not supported.
    """
    if layout not in layouts:
        raise CheckpointError(f"Unknown layout {layout!r}. {nearest(layout, layouts)}")


def class_names(classes: Sequence[str] | str) -> tuple[str, ...]:
    """Return the listed class names, or those of a predefined list such as `coco`.

    Raises:
        CheckpointError: No predefined list has that name.
    """
    if not isinstance(classes, str):
        return tuple(classes)
    if classes not in VOCABULARIES:
        raise CheckpointError(f"Unknown classes {classes!r}. {nearest(classes, VOCABULARIES)}")
    return VOCABULARIES[classes]


def grid_view(batch: Batch, side: int, layout: GridLayout) -> Tensor:
    """Return the letterboxed images, (B, 3, side, side), uint8."""
    return linear_letterbox(batch, side, _LETTERBOXES[layout])[0]


def to_pixels(view: Tensor, layout: Layout) -> Tensor:
    """Return a view, RGB uint8, in the network's range and channel order."""
    return view.flip(1).float() if layout == "yolox" else view.float() / 255


def check_grid(shape: Sequence[int], layout: GridLayout, classes: int, *, origin: Path) -> None:
    """Check that an output has the shape of the layout for the given number of classes.

    Raises:
        CheckpointError: The shape does not match.
    """
    axis, channels = (2, 5 + classes) if layout == "yolox" else (1, 4 + classes)
    if len(shape) != 3 or shape[axis] != channels:
        raise CheckpointError(
            f"{origin}: the layout {layout} with {classes} classes has {channels} channels on "
            f"axis {axis} of three; the output of this file has the shape {tuple(shape)}."
        )


def decode_grid(
    cells: Tensor, batch: Batch, side: int, layout: GridLayout, classes: tuple[str, ...]
) -> list[Detections]:
    """Return the boxes of each image, after class-wise suppression.

    Args:
        cells: Output in the layout's shape, with boxes in pixels of the view.
        batch: Images.
        side: Side of the view, in pixels.
        layout: Layout of the output.
        classes: The C class names.
    """
    _, insets = linear_letterbox(batch, side, _LETTERBOXES[layout])
    if layout == "yolo":
        boxes, scores = torch.split(cells.float().transpose(1, 2), [4, len(classes)], dim=2)
        return class_wise_nms(box_convert(boxes, "cxcywh", "xyxy"), scores, insets, classes)
    boxes, objectness, scores = torch.split(cells.float(), [4, 1, len(classes)], dim=2)
    return class_wise_nms(corners_of_cells(boxes, side), objectness * scores, insets, classes)


def corners_of_cells(boxes: Tensor, side: int) -> Tensor:
    """Return corners in pixels of boxes relative to cells, in units of the cells' stride [1].

    The cells of each stride are in row-major order.

    Args:
        boxes: Centers and logarithms of the sides, shape (B, K, 4).
        side: Side of the view, in pixels.
    """
    origins, strides = [], []
    for stride in _STRIDES:
        axis = torch.arange(side // stride, device=boxes.device)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        origins.append(torch.stack([x, y], dim=-1).reshape(-1, 2))
        strides.append(boxes.new_full((len(origins[-1]), 1), stride))
    scales = torch.cat(strides)
    centers = (boxes[..., :2] + torch.cat(origins)) * scales
    sides = boxes[..., 2:].exp() * scales
    return box_convert(torch.cat([centers, sides], dim=-1), "cxcywh", "xyxy")
