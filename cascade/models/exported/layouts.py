"""How detectors see and answer that were exported to a file, by the layout of their tensors.

    deimv2   in: RGB/255, stretched; the image's size. out: labels, boxes, scores
    yolox    in: BGR 0..255, letterboxed at the top left. out: (B, K, 5 + C), relative to cells
    yolo     in: RGB/255, letterboxed in the middle. out: (B, 4 + C, K), centre and sides, pixels

The last two answer for each cell of a grid. Which format the file has does not matter here.

- [0] Huang et al., Real-Time Object Detection Meets DINOv3 (DEIMv2), 2025
- [1] Ge et al., YOLOX: Exceeding YOLO Series in 2021, 2021
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cascade.errors import CheckpointError, nearest
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import Style, linear_letterbox
from cascade.models.detection.nms import suppressed, to_corners
from cascade.models.exported import coco_classes
from cascade.predictions import Detections

GridLayout = Literal["yolox", "yolo"]
Layout = Literal["deimv2", GridLayout]
VOCABULARIES = {"coco": coco_classes.NAMES}
_LETTERBOXES: dict[GridLayout, Style] = {"yolox": "yolox", "yolo": "ultralytics"}
_STRIDES = (8, 16, 32)


def known_layout(layout: str, known: Sequence[str]) -> None:
    """Raise for a layout that is none of those that are known.

    Raises:
        CheckpointError: It is none of them.
    """
    if layout not in known:
        raise CheckpointError(f"There is no layout {layout!r}. {nearest(layout, known)}")


def class_names(classes: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names that are listed, or those of a list that is known by its name.

    Raises:
        CheckpointError: There is no such list.
    """
    if not isinstance(classes, str):
        return tuple(classes)
    if classes not in VOCABULARIES:
        raise CheckpointError(
            f"There is no list of classes {classes!r}. {nearest(classes, VOCABULARIES)}"
        )
    return VOCABULARIES[classes]


def grid_view(batch: Batch, side: int, layout: GridLayout) -> Tensor:
    """Return the letterboxed images, (B, 3, side, side), uint8."""
    return linear_letterbox(batch, side, _LETTERBOXES[layout])[0]


def pixels_of(view: Tensor, layout: Layout) -> Tensor:
    """Return a view, RGB uint8, in the range and the order of channels that the network takes."""
    return view.flip(1).float() if layout == "yolox" else view.float() / 255


def expect_grid(shape: Sequence[int], layout: GridLayout, classes: int, *, origin: Path) -> None:
    """Raise where an answer is not of the layout, with as many classes.

    Raises:
        CheckpointError: It has another shape.
    """
    axis, channels = (2, 5 + classes) if layout == "yolox" else (1, 4 + classes)
    if len(shape) != 3 or shape[axis] != channels:
        raise CheckpointError(
            f"{origin}: the layout {layout} with {classes} classes has {channels} channels on "
            f"axis {axis} of three; this file answers in the shape {tuple(shape)}."
        )


def of_grid(
    cells: Tensor, batch: Batch, side: int, layout: GridLayout, classes: tuple[str, ...]
) -> list[Detections]:
    """Return the boxes of each image, after class-wise suppression.

    Args:
        cells: The answer, in the layout's shape; pixels are those of the view.
        batch: The images.
        side: Of the view, in pixels.
        layout: How the answer is laid out.
        classes: The C names.
    """
    _, insets = linear_letterbox(batch, side, _LETTERBOXES[layout])
    if layout == "yolo":
        boxes, scores = torch.split(cells.float().transpose(1, 2), [4, len(classes)], dim=2)
        return suppressed(to_corners(boxes), scores, insets, classes)
    boxes, objectness, scores = torch.split(cells.float(), [4, 1, len(classes)], dim=2)
    return suppressed(corners_of_cells(boxes, side), objectness * scores, insets, classes)


def corners_of_cells(boxes: Tensor, side: int) -> Tensor:
    """Return corners in pixels of boxes that are relative to cells, in units of their stride [1].

    The cells of each stride follow each other row by row.

    Args:
        boxes: Centre and the logarithm of the sides, shape (B, K, 4).
        side: Of the view, in pixels.
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
