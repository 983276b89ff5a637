"""YOLO26, YOLO11 and YOLOv8 of ultralytics (AGPL-3.0), full size.

They predict by their one-to-many head with class-wise suppression, or without suppression by
the one-to-one head that YOLO26 has beside it.
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
from cascade.imaging.letterbox import Inset, linear_letterbox
from cascade.models.detection.detector_head import (
    carry_over,
    flatten,
    named_classes,
    open_checkpoint,
    to_centres,
    to_detections,
)
from cascade.models.detection.nms import suppressed
from cascade.models.ultralytics import pickle_reader
from cascade.models.ultralytics.network import detection_model, refuse_foreign_rows
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "ultralytics"
_STRIDE = 32
_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}  # of the loss's parts: ultralytics' defaults
_LAYERS = frozenset(
    {"Conv", "C2f", "C3k2", "C2PSA", "SPPF", "nn.Upsample", "Concat", "Detect"},
)
_KEYS = (  # of a YAML, those that decide on the network
    "backbone", "head", "scales", "scale", "depth_multiple", "width_multiple", "end2end", "reg_max",
)  # fmt: skip


class UltralyticsDetector:
    """A detector of ultralytics.

    As it is loaded it is for prediction, its convolutions fused; what `with_classes` returns can
    be trained.

    Args:
        checkpoint: A `.pt` file of ultralytics' releases, or a folder that `to_folder` or `save`
            wrote.
        size: Side of the square that it sees, in pixels; a multiple of 32.
        nms_free: Whether to predict by the one-to-one head.

    Raises:
        CheckpointError: The checkpoint is absent, foreign or damaged, or has no such head.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, size: int = 640, nms_free: bool = False
    ) -> None:
        if size % _STRIDE:
            raise CheckpointError(f"size must be a multiple of {_STRIDE}, got {size}.")
        self._architecture, self.classes, tensors = _read(checkpoint)
        if nms_free and not self._architecture.get("end2end"):
            raise CheckpointError(
                f"{checkpoint} has no NMS-free head, as YOLO11 and YOLOv8 have none; "
                "leave out `nms_free`."
            )
        self.size, self.nms_free, self._checkpoint = size, nms_free, checkpoint
        self.module = _restored(self._architecture, len(self.classes), tensors, origin=checkpoint)
        self.module.requires_grad_(False)
        self.module.end2end = nms_free  # before fuse, which drops the other head
        self.module.fuse(verbose=False)
        self.module.eval().to(memory_format=torch.channels_last)

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width of the square that it sees, in pixels."""
        return self.size, self.size

    def training_view(self, batch: Batch) -> tuple[Tensor, list[Inset]]:
        """Return the letterboxes (B, 3, H, W), uint8, and where the images lie in them."""
        return linear_letterbox(batch, self.size, "ultralytics")

    def prepare(self, batch: Batch) -> Tensors:
        """Return the view that `forward` needs."""
        return {"view": linear_letterbox(batch, self.size, "ultralytics")[0]}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return corners, in pixels of the view, and scores.

        Of every cell, (B, 4 + C, K); without suppression of the best, with their class number,
        (B, 300, 6).
        """
        view: Tensor = tensors["view"]
        if not len(view):
            return torch.zeros(0)
        raw: Tensor = self.module(_pixels(view))[0]
        return raw

    def decode(self, raw: Tensor, batch: Batch) -> list[Detections]:
        """Return the boxes of each image."""
        if not len(batch):
            return []
        _, insets = linear_letterbox(batch, self.size, "ultralytics")
        raw = raw.float()
        if not self.nms_free:
            boxes, scores = torch.split(raw.transpose(1, 2), [4, len(self.classes)], dim=2)
            return suppressed(boxes, scores, insets, self.classes)
        return [
            to_detections(
                place.to_relative(rows[:, :4]),
                rows[:, 4],
                rows[:, 5].long(),
                self.classes,
                nms_iou=None,
            )
            for rows, place in zip(raw, insets, strict=True)
        ]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return ultralytics' detection loss, per image; of both heads, where there are two."""
        pixels = _pixels(tensors["view"])
        image, class_ids, corners = flatten(targets, self.classes, pixels.device)
        batch = {
            "img": pixels,
            "batch_idx": image.float(),
            "cls": class_ids.float()[:, None],
            "bboxes": to_centres(corners),
        }
        raw = self.module(pixels)
        found = _exact(raw[1] if isinstance(raw, tuple) else raw)
        self.module.criterion = self.module.init_criterion()  # it holds on to a device
        with torch.autocast(pixels.device.type, enabled=False):
            parts, _ = self.module.loss(batch, found)
        del self.module.criterion
        return parts.sum() / len(targets)

    def with_classes(
        self, classes: Sequence[str], *, meaning: Callable[[str], str | None] | None = None
    ) -> UltralyticsDetector:
        """Return a copy that names `classes` and can be trained; what it knew of a class stays."""
        other, old = copy(self), self._whole()
        other.classes = named_classes(classes)
        other.module = _build(self._architecture, len(other.classes), origin=self._checkpoint)
        carry_over(
            old,
            other.module,
            class_rows=[name for name in checkpoints.state(old) if _is_of_classes(name)],
            old_classes=self.classes,
            new_classes=other.classes,
            meaning=meaning,
        )
        other.module.args = SimpleNamespace(**_GAINS)
        other.module.end2end = self.nms_free
        other.module.model[-1].dynamic = True  # no anchors kept from inference mode
        other.module.eval().to(memory_format=torch.channels_last)
        return other

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder`, whole or not at all."""
        _save(folder, self._architecture, self.classes, checkpoints.state(self._whole()))

    def _whole(self) -> Any:
        """Return the network with both heads and unfused convolutions."""
        if not self.module.is_fused():
            return self.module
        _, classes, tensors = _read(self._checkpoint)
        return _restored(self._architecture, len(classes), tensors, origin=self._checkpoint)


def to_folder(pt: Path, folder: Path) -> None:
    """Write the model of a `.pt` file as a checkpoint that is no pickle.

    Raises:
        CheckpointError: The file is foreign or damaged, or the folder cannot be written.
    """
    _save(folder, *_read(pt))


def _save(
    folder: Path,
    architecture: dict[str, Any],
    classes: tuple[str, ...],
    tensors: dict[str, Tensor],
) -> None:
    config = {"adapter": ADAPTER, "classes": list(classes), "architecture": architecture}
    checkpoints.save(folder, config, tensors)


def _read(checkpoint: Path | None) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Tensor]]:
    """Return architecture, class names and tensors."""
    if checkpoint is None:
        raise CheckpointError(
            "This detector needs a checkpoint: a .pt file of ultralytics' releases, or a folder."
        )
    if checkpoint.is_file():
        pickled = pickle_reader.read(checkpoint)
        return _checked(pickled.yaml, origin=checkpoint), pickled.names, pickled.tensors
    config, tensors = open_checkpoint(checkpoint, adapter=ADAPTER, keys=("classes", "architecture"))
    architecture = _checked(config["architecture"], origin=checkpoint)
    return architecture, tuple(config["classes"]), dict(tensors)


def _checked(yaml: Any, *, origin: Path) -> dict[str, Any]:
    """Return what decides on the network, where it is of a known kind."""
    if not isinstance(yaml, dict) or not {"backbone", "head"} <= set(yaml):
        raise CheckpointError(f"{origin}: the YAML must have a backbone and a head.")
    if yaml.get("activation") is not None:
        raise CheckpointError(
            f"{origin}: its YAML names an activation, {yaml['activation']!r}, which would have to "
            "be evaluated; only the default, SiLU, is read."
        )
    architecture = {key: yaml[key] for key in _KEYS if key in yaml}
    refuse_foreign_rows(architecture, layers=_LAYERS, origin=str(origin))
    if architecture["head"][-1][2] != "Detect":
        raise CheckpointError(f"{origin}: its last layer must be Detect.")
    return architecture


def _build(architecture: dict[str, Any], classes: int, *, origin: object) -> Any:
    content = {**deepcopy(architecture), "nc": classes}
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            module = detection_model()(content, ch=3, nc=classes, verbose=False)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{origin}: its YAML describes no network: {error!r}.") from error
    module.model[-1].xyxy = True  # corners, not centre and sides
    return module


def _restored(
    architecture: dict[str, Any], classes: int, tensors: dict[str, Tensor], *, origin: object
) -> Any:
    module = _build(architecture, classes, origin=origin)
    checkpoints.restore(module, tensors, origin=origin)
    return module


def _pixels(view: Tensor) -> Tensor:
    return (view.float() / 255).contiguous(memory_format=torch.channels_last)


def _exact(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a head found, or both heads, with boxes and scores in float32."""
    return {
        name: _exact(one)
        if isinstance(one, dict)
        else one.float()
        if name in ("boxes", "scores")
        else one
        for name, one in found.items()
    }


def _is_of_classes(name: str) -> bool:
    """Tell whether a tensor has one row per class: the last layers of a head's class branch."""
    return re.fullmatch(r"model\.\d+\.(one2one_)?cv3\.\d+\.2\.(weight|bias)", name) is not None
