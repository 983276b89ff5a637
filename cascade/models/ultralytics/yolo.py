"""A small YOLO26 of ultralytics (AGPL-3.0), kept as YAML and safetensors instead of a pickle.

It predicts by its one-to-many head with class-wise suppression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cascade.checkpoints import checkpoint as checkpoints
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import (
    NMS_IOU,
    carry_over,
    flatten,
    named_classes,
    open_checkpoint,
    to_centres,
    to_detections,
)
from cascade.models.ultralytics.network import detection_model, refuse_foreign_rows
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "yolo"
_CANDIDATES = 300  # boxes of an image that suppression looks at
_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  # of the loss's parts: ultralytics' defaults

# YOLO26's layers with channels of our own, without its attention block (C2PSA): the rows are
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


class Yolo:
    """The detector, read from a checkpoint or, where that is None, newly initialised.

    Args:
        checkpoint: A folder that `save` wrote.
        classes: What it is to name, where there is no checkpoint.
        size: Height and width that images are stretched to, in pixels; a multiple of 32.
        seed: Of the initialisation.

    Raises:
        CheckpointError: The checkpoint is absent or another adapter's, or there are no classes.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        classes: Sequence[str] | None = None,
        size: int = 320,
        seed: int = 0,
    ) -> None:
        if checkpoint is None:
            self.classes = named_classes(classes)
            self.size, self._architecture = size, deepcopy(_ARCHITECTURE)
            self.module = _build(len(self.classes), self._architecture, seed)
            return
        config, tensors = open_checkpoint(
            checkpoint, adapter=ADAPTER, keys=("classes", "size", "architecture")
        )
        self.classes = tuple(config["classes"])
        self.size, self._architecture = config["size"], config["architecture"]
        _refuse_foreign(self._architecture, origin=checkpoint)
        self.module = _build(len(self.classes), self._architecture, seed)
        checkpoints.restore(self.module, tensors, origin=checkpoint)

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to, in pixels."""
        return self.size, self.size

    def prepare(self, batch: Batch) -> Tensors:
        """Return the view that `forward` needs."""
        return {"view": batch.view(self.size, self.size)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return pixel corners and scores of every cell, shape (B, 4 + C, cells)."""
        raw: Tensor = self.module(_pixels(tensors))[0]
        return raw

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image, after class-wise suppression."""
        boxes, scores = torch.split(raw.float().transpose(1, 2), [4, len(self.classes)], dim=2)
        scores, places = scores.flatten(1).topk(min(_CANDIDATES, scores[0].numel()))
        cells, class_ids = places // len(self.classes), places % len(self.classes)
        boxes = (boxes / self.size).gather(1, cells[..., None].expand(-1, -1, 4))
        return [
            to_detections(*one, self.classes, nms_iou=NMS_IOU)
            for one in zip(boxes.cpu(), scores.cpu(), class_ids.cpu(), strict=True)
        ]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return ultralytics' detection loss, per image."""
        pixels = _pixels(tensors)
        image, class_ids, corners = flatten(targets, self.classes, pixels.device)
        batch = {
            "img": pixels,
            "batch_idx": image.float(),
            "cls": class_ids.float()[:, None],
            "bboxes": to_centres(corners),
        }
        raw = self.module(pixels)
        found = raw[1] if isinstance(raw, tuple) else raw
        found = {**found, "boxes": found["boxes"].float(), "scores": found["scores"].float()}
        self.module.criterion = self.module.init_criterion()  # it holds on to a device
        with torch.autocast(pixels.device.type, enabled=False):
            parts, _ = self.module.loss(batch, found)
        return parts.sum() / len(targets)

    def with_classes(
        self, classes: Sequence[str], *, meaning: Callable[[str], str | None] | None = None
    ) -> Yolo:
        """Return a copy that names `classes`; what it knew of a class stays."""
        other = copy(self)
        other.classes = named_classes(classes)
        other.module = _build(len(other.classes), self._architecture, seed=0)
        carry_over(
            self.module,
            other.module,
            class_rows=[name for name in checkpoints.state(self.module) if _is_of_classes(name)],
            old_classes=self.classes,
            new_classes=other.classes,
            meaning=meaning,
        )
        return other

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder`, whole or not at all."""
        config = {
            "adapter": ADAPTER,
            "classes": list(self.classes),
            "size": self.size,
            "architecture": self._architecture,
        }
        checkpoints.save(folder, config, checkpoints.state(self.module))


def _pixels(tensors: Tensors) -> Tensor:
    view: Tensor = tensors["view"]
    return (view.float() / 255).contiguous(memory_format=torch.channels_last)


def _build(classes: int, architecture: dict[str, Any], seed: int) -> Any:
    content = {**deepcopy(architecture), "nc": classes}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = detection_model()(content, ch=3, nc=classes, verbose=False)
    module.args = SimpleNamespace(**_GAINS)
    head = module.model[-1]
    head.xyxy = True  # corners, not centre and sides
    head.dynamic = True  # no anchors kept from inference mode, which training could not use
    return module.to(memory_format=torch.channels_last).eval()


def _refuse_foreign(architecture: Any, *, origin: Path) -> None:
    if not isinstance(architecture, dict) or set(architecture) != set(_ARCHITECTURE):
        raise CheckpointError(
            f"{origin}: config.json: `architecture` must have the keys {sorted(_ARCHITECTURE)}."
        )
    refuse_foreign_rows(architecture, layers=_MODULES, origin=f"{origin}: config.json")


def _is_of_classes(name: str) -> bool:
    """Tell whether a tensor has one row per class: the last layers of the head's class branch."""
    return re.fullmatch(r"model\.\d+\.cv3\.\d+\.2\.(weight|bias)", name) is not None
