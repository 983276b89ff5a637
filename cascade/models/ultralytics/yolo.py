"""Small YOLO26 from Ultralytics (AGPL-3.0), stored as YAML and safetensors instead of a pickle.

It predicts with its one-to-many head and class-wise suppression.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import NMS_IOU, to_detections
from cascade.models.detection.small_detector import Blueprint, SmallDetector
from cascade.models.ultralytics.network import (
    build_network,
    detection_loss,
    loss_gains,
    refuse_foreign_rows,
    to_pixels,
)
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "yolo"
_CANDIDATES = 300  # boxes per image before suppression

# YOLO26's layers with fewer channels and without its attention block (C2PSA). Rows are
# [from, repeats, module, arguments].
_ARCHITECTURE: dict[str, Any] = {
    "end2end": False,
    "reg_max": 1,
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [24, 3, 2]],
        [-1, 1, "C3k2", [24, False, 0.25]],
        [-1, 1, "Conv", [48, 3, 2]],
        [-1, 1, "C3k2", [48, False, 0.25]],  # 4: stride 8
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "C3k2", [64, True]],  # 6: stride 16
        [-1, 1, "Conv", [96, 3, 2]],
        [-1, 1, "C3k2", [96, True]],
        [-1, 1, "SPPF", [96, 5, 3, True]],  # 9: stride 32
    ],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 6], 1, "Concat", [1]],
        [-1, 1, "C3k2", [64, False]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, 1, "C3k2", [48, False]],
        [-1, 1, "Conv", [48, 3, 2]],
        [[-1, 12], 1, "Concat", [1]],
        [-1, 1, "C3k2", [64, False]],
        [-1, 1, "Conv", [64, 3, 2]],
        [[-1, 9], 1, "Concat", [1]],
        [-1, 1, "C3k2", [96, False]],
        [[15, 18, 21], 1, "Detect", ["nc"]],
    ],
}
_MODULES = {row[2] for part in ("backbone", "head") for row in _ARCHITECTURE[part]}


class Yolo(SmallDetector):
    """Small YOLO26; see `SmallDetector` for its parameters."""

    def __init__(self, checkpoint: Path | None = None, **params: Any) -> None:
        self.blueprint = Blueprint(
            ADAPTER, _ARCHITECTURE, _build, _is_class_tensor, check=_check_architecture
        )
        super().__init__(checkpoint, **params)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the stretched images, (B, 3, H, W), uint8."""
        return {"view": batch.view(self.size, self.size)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return pixel corners and scores of every cell, shape (B, 4 + C, cells)."""
        raw: Tensor = self.module(to_pixels(tensors["view"]))[0]
        return raw

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image, after class-wise suppression."""
        boxes, scores = torch.split(raw.float().transpose(1, 2), [4, len(self.classes)], dim=2)
        scores, indices = scores.flatten(1).topk(min(_CANDIDATES, scores[0].numel()))
        cells, class_ids = indices // len(self.classes), indices % len(self.classes)
        boxes = (boxes / self.size).gather(1, cells[..., None].expand(-1, -1, 4))
        return [
            to_detections(*row, self.classes, nms_iou=NMS_IOU)
            for row in zip(boxes.cpu(), scores.cpu(), class_ids.cpu(), strict=True)
        ]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the Ultralytics detection loss, per image."""
        return detection_loss(self.module, tensors["view"], targets, self.classes)


def _build(classes: int, architecture: dict[str, Any], seed: int) -> Any:
    module = build_network(architecture, classes, origin=ADAPTER, seed=seed)
    module.args = loss_gains()
    module.model[-1].dynamic = True  # training cannot use cached anchors
    return module.to(memory_format=torch.channels_last).eval()


def _check_architecture(architecture: Any, origin: Path) -> None:
    if not isinstance(architecture, dict) or set(architecture) != set(_ARCHITECTURE):
        raise CheckpointError(
            f"{origin}: config.json: `architecture` must have the keys {sorted(_ARCHITECTURE)}."
        )
    refuse_foreign_rows(architecture, layers=_MODULES, origin=f"{origin}: config.json")


def _is_class_tensor(name: str) -> bool:
    """Return whether a tensor has one row per class: last layers of the head's class branch."""
    return re.fullmatch(r"model\.\d+\.cv3\.\d+\.2\.(weight|bias)", name) is not None
