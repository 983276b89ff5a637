"""YOLO26, YOLO11 and YOLOv8 from Ultralytics (AGPL-3.0), full size.

They predict with the one-to-many head and class-wise suppression, or, YOLO26 only, with the
one-to-one head and without suppression.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade.checkpoints.checkpoint import restore, save, state
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import Inset, linear_letterbox
from cascade.models.detection.detector_head import (
    ClassMapping,
    open_checkpoint,
    require_classes,
    retarget,
    to_detections,
)
from cascade.models.detection.nms import class_wise_nms
from cascade.models.ultralytics import pickle_reader
from cascade.models.ultralytics.network import (
    build_network,
    detection_loss,
    loss_gains,
    refuse_activation,
    refuse_foreign_rows,
    to_pixels,
)
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "ultralytics"
_STRIDE = 32
_LAYERS = frozenset(
    {"Conv", "C2f", "C3k2", "C2PSA", "SPPF", "nn.Upsample", "Concat", "Detect"},
)
_KEYS = (  # keys of a YAML that define the network
    "backbone", "head", "scales", "scale", "depth_multiple", "width_multiple", "end2end", "reg_max",
)  # fmt: skip


class UltralyticsDetector:
    """Ultralytics detector.

    A loaded detector only predicts, since its convolutions are fused; `with_classes` returns a
    copy that can be trained.

    Args:
        checkpoint: `.pt` file from an Ultralytics release, or a folder written by `to_folder` or
            `save`.
        size: Side of the square view, in pixels; a multiple of 32.
        nms_free: Whether to predict with the one-to-one head.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or unsupported, or lacks that head.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, size: int = 640, nms_free: bool = False
    ) -> None:
        if size % _STRIDE:
            raise CheckpointError(f"size must be a multiple of {_STRIDE}, got {size}.")
        self._architecture, self.classes, tensors = _read(checkpoint)
        if nms_free and not self._architecture.get("end2end"):
            raise CheckpointError(
                f"{checkpoint} has no NMS-free head, nor has any YOLO11 or YOLOv8; "
                "leave out `nms_free`."
            )
        self.size, self.nms_free, self._checkpoint = size, nms_free, checkpoint
        self.module = _restored(self._architecture, len(self.classes), tensors, origin=checkpoint)
        self.module.requires_grad_(False)
        self.module.end2end = nms_free  # before `fuse`, which drops the other head
        self.module.fuse(verbose=False)
        self.module.eval().to(memory_format=torch.channels_last)

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width of the square view, in pixels."""
        return self.size, self.size

    def training_view(self, batch: Batch) -> tuple[Tensor, list[Inset]]:
        """Return the letterboxes (B, 3, H, W), uint8, and the images' places in them."""
        return linear_letterbox(batch, self.size, "ultralytics")

    def prepare(self, batch: Batch) -> Tensors:
        """Return the letterboxed images, (B, 3, H, W), uint8."""
        return {"view": self.training_view(batch)[0]}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return corners, in pixels of the view, and scores.

        The shape is (B, 4 + C, K) for K cells; without suppression (B, 300, 6), for corners,
        score and class number of the best boxes.
        """
        view: Tensor = tensors["view"]
        if not len(view):
            return torch.zeros(0)
        raw: Tensor = self.module(to_pixels(view))[0]
        return raw

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image."""
        if not len(batch):
            return []
        _, insets = self.training_view(batch)
        raw = raw.float()
        if not self.nms_free:
            boxes, scores = torch.split(raw.transpose(1, 2), [4, len(self.classes)], dim=2)
            return class_wise_nms(boxes, scores, insets, self.classes)
        return [
            to_detections(
                inset.to_relative(rows[:, :4]),
                rows[:, 4],
                rows[:, 5].long(),
                self.classes,
                nms_iou=None,
            )
            for rows, inset in zip(raw, insets, strict=True)
        ]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the Ultralytics detection loss, per image."""
        return detection_loss(self.module, tensors["view"], targets, self.classes)

    def with_classes(
        self, classes: Sequence[str], *, meaning: ClassMapping | None = None
    ) -> UltralyticsDetector:
        """Return a trainable copy that names `classes` and keeps what was learned about them."""
        names = require_classes(classes)
        module = build_network(self._architecture, len(names), origin=self._checkpoint)
        other = retarget(
            self,
            names,
            module,
            is_class_tensor=_is_class_tensor,
            meaning=meaning,
            trained=self._unfused(),
        )
        module.args = loss_gains()
        module.end2end = self.nms_free
        module.model[-1].dynamic = True  # training cannot use anchors cached in inference mode
        module.eval().to(memory_format=torch.channels_last)
        return other

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder` atomically."""
        _save(folder, self._architecture, self.classes, state(self._unfused()))

    def _unfused(self) -> Any:
        """Return the network with both heads and unfused convolutions."""
        if not self.module.is_fused():
            return self.module
        _, classes, tensors = _read(self._checkpoint)
        return _restored(self._architecture, len(classes), tensors, origin=self._checkpoint)


def to_folder(pt: Path, folder: Path) -> None:
    """Convert the model of a `.pt` file to a checkpoint without a pickle.

    Raises:
        CheckpointError: The file is foreign or damaged, or the folder is not writable.
    """
    _save(folder, *_read(pt))


def _save(
    folder: Path,
    architecture: dict[str, Any],
    classes: tuple[str, ...],
    tensors: dict[str, Tensor],
) -> None:
    config = {"adapter": ADAPTER, "classes": list(classes), "architecture": architecture}
    save(folder, config, tensors)


def _read(checkpoint: Path | None) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Tensor]]:
    """Return architecture, class names and tensors."""
    if checkpoint is None:
        raise CheckpointError(
            "This detector needs a checkpoint: a .pt file from an Ultralytics release, or a folder."
        )
    if checkpoint.is_file():
        pickled = pickle_reader.read(checkpoint)
        return _checked(pickled.yaml, origin=checkpoint), pickled.names, pickled.tensors
    config, tensors = open_checkpoint(checkpoint, adapter=ADAPTER, keys=("classes", "architecture"))
    architecture = _checked(config["architecture"], origin=checkpoint)
    return architecture, tuple(config["classes"]), dict(tensors)


def _checked(yaml: Any, *, origin: Path) -> dict[str, Any]:
    """Return the keys of a YAML that define the network, of a supported kind only."""
    if not isinstance(yaml, dict) or not {"backbone", "head"} <= set(yaml):
        raise CheckpointError(f"{origin}: the YAML must have a backbone and a head.")
    refuse_activation(yaml, origin=origin)
    architecture = {key: yaml[key] for key in _KEYS if key in yaml}
    refuse_foreign_rows(architecture, layers=_LAYERS, origin=str(origin))
    if architecture["head"][-1][2] != "Detect":
        raise CheckpointError(f"{origin}: the last layer must be Detect.")
    return architecture


def _restored(
    architecture: dict[str, Any], classes: int, tensors: dict[str, Tensor], *, origin: object
) -> Any:
    module = build_network(architecture, classes, origin=origin)
    restore(module, tensors, origin=origin)
    return module


def _is_class_tensor(name: str) -> bool:
    """Return whether a tensor has one row per class: last layers of a head's class branch."""
    return re.fullmatch(r"model\.\d+\.(one2one_)?cv3\.\d+\.2\.(weight|bias)", name) is not None
