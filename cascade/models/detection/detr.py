"""Detection models from transformers: RT-DETR, RT-DETRv2, D-FINE, DEIMv2, RF-DETR.

A checkpoint is a folder in the hub's format; one trained here also lists its classes in its
configuration, as `classes`. The loss is each family's own. Under autocast the backbone and the
attention run in half precision, but the layers that compute boxes stay in float32: in bfloat16 a
coordinate near 1 moves in steps of 1/256, which are seven pixels of a full HD image's width.

- [0] Zhao et al., DETRs Beat YOLOs on Real-time Object Detection, CVPR 2024
- [1] Lv et al., RT-DETRv2: Improved Baseline with Bag-of-Freebies, 2024
- [2] Peng et al., D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution
  Refinement, ICLR 2025
- [3] Huang et al., Real-Time Object Detection Meets DINOv3, 2025 (DEIMv2)
- [4] Robinson et al., RF-DETR: Neural Architecture Search for Real-Time Detection Transformers,
  ICLR 2026
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_convert

# Avoids one device synchronization and one graph break per deformable attention.
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")

from transformers import AutoImageProcessor, AutoModelForObjectDetection, RfDetrImageProcessor

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import Inset
from cascade.models.detection.detector_head import (
    MAX_BOXES,
    ClassMapping,
    atomic_folder,
    detr_labels,
    require_classes,
    retarget,
    to_detections,
)
from cascade.models.detection.rt_detr import is_class_tensor
from cascade.models.huggingface import image_processor, pretrained
from cascade.models.huggingface.image_processor import ProcessorView
from cascade.predictions import Detections
from cascade.protocols import Tensors

MODEL_TYPES = ("d_fine", "deimv2", "rf_detr", "rt_detr", "rt_detr_v2")
# Modules in transformers that always run in float32: the heads, and the maps whose dtype the
# anchors share.
_FLOAT32_MODULES = frozenset(
    {
        "bbox_embed",
        "class_embed",
        "decoder_input_proj",
        "enc_bbox_head",
        "enc_out_bbox_embed",
        "enc_out_class_embed",
        "enc_score_head",
        "integral",
        "layer_norm",  # last layer of RF-DETR's projector
        "lqe_layers",
        "pre_bbox_head",
    }
)


class DetrDetector:
    """Detection transformer; it needs no suppression of duplicates.

    A loaded detector only predicts; `with_classes` returns a copy that can be trained.

    Args:
        checkpoint: Folder in the hub's format: configuration, processor, safetensors.
        classes: Class names in the order of the outputs, if the checkpoint does not name them;
            ignored for a checkpoint trained here.

    Raises:
        CheckpointError: The folder is missing, incomplete, of another family, or names no classes.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, classes: Sequence[str] | None = None
    ) -> None:
        folder = pretrained.check_folder(checkpoint, MODEL_TYPES, adapter="detr")
        self._view = StretchedView.from_folder(folder)
        self.module = keep_float32(pretrained.load_network(AutoModelForObjectDetection, folder))
        self.classes = class_names(self.module, classes, origin=folder)

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to, in pixels."""
        return self._view.size

    def training_view(self, batch: Batch) -> tuple[Tensor, list[Inset]]:
        """Return the stretched images before normalization, (B, 3, H, W), uint8."""
        height, width = self.view_size
        return self._view.images(batch), [Inset(0, 0, width, height)] * len(batch)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalized pixels, (B, 3, H, W), float32."""
        return {"pixel_values": self._view.pixels(batch)}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return logits (B, Q, C) and boxes `cx, cy, w, h` (B, Q, 4) of Q queries, float32."""
        pixels: Tensor = tensors["pixel_values"]
        if not len(pixels):  # transformers cannot reshape an empty batch
            return {
                "logits": pixels.new_zeros(0, 1, len(self.classes)),
                "boxes": pixels.new_zeros(0, 1, 4),
            }
        raw = self.module(pixel_values=pixels)
        return {"logits": raw.logits, "boxes": raw.pred_boxes}

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Detections]:
        """Return the highest-scoring boxes of each image, as in the official post-processing."""
        scores, class_ids, queries = top_predictions(raw["logits"])
        corners = box_convert(raw["boxes"].float(), "cxcywh", "xyxy")
        boxes = corners.gather(1, queries[..., None].expand(-1, -1, 4))
        # One transfer from the device per batch instead of one per image.
        rows = zip(boxes.cpu(), scores.cpu(), class_ids.cpu(), strict=True)
        return [to_detections(*row, classes=self.classes, nms_iou=None) for row in rows]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the family's own loss: matched queries, auxiliary layers, denoising."""
        pixels: Tensor = tensors["pixel_values"]
        labels = detr_labels(targets, self.classes, pixels.device)
        loss: Tensor = self.module(pixel_values=pixels, labels=labels).loss
        return loss

    def with_classes(
        self, classes: Sequence[str], *, meaning: ClassMapping | None = None
    ) -> DetrDetector:
        """Return a trainable copy that names `classes` and keeps what was learned about them."""
        names = require_classes(classes)
        module = _new_network(self.module, names)
        return retarget(self, names, module, is_class_tensor=is_class_tensor, meaning=meaning)

    def save(self, folder: Path) -> None:
        """Write the checkpoint into `folder` atomically, in the hub's format.

        Raises:
            CheckpointError: The folder is not writable.
        """
        with atomic_folder(folder) as draft:
            draft.mkdir(parents=True)
            plain: Any = _unwrap(deepcopy(self.module))
            plain.config = _config_for(plain.config, self.classes)
            plain.save_pretrained(draft)
            self._view.processor.save_pretrained(draft)


@dataclass(frozen=True)
class StretchedView:
    """Images stretched to one size, as the checkpoint's processor does it.

    Attributes:
        view: Size, interpolation and normalization.
        antialias: Whether downscaling is antialiased; it is not for RF-DETR.
        processor: The checkpoint's processor.
    """

    view: ProcessorView
    antialias: bool
    processor: Any

    @classmethod
    def from_folder(cls, folder: Path) -> StretchedView:
        """Return the view of the processor in `folder`.

        Raises:
            CheckpointError: The processor is missing, or does not stretch images.
        """
        view = image_processor.read(folder)
        if view.resize != "stretch" or view.crop:
            raise CheckpointError(
                f"{folder}: the image processor must stretch images to height and width, "
                f"got resize {view.resize!r} and crop {view.crop}."
            )
        official = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        antialias = not isinstance(official, RfDetrImageProcessor)
        return cls(view=view, antialias=antialias, processor=official)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.view.size

    def pixels(self, batch: Batch) -> Tensor:
        """Return the normalized pixels of a batch, (B, 3, height, width), float32."""
        pixels = self.view.view(batch) if self.antialias else self._resampled(batch)
        return self.view.normalize(pixels)

    def images(self, batch: Batch) -> Tensor:
        """Return the pixels before normalization, (B, 3, height, width), uint8."""
        if self.antialias:
            return self.view.view(batch)
        return self._resampled(batch).round().clamp(0, 255).to(torch.uint8)

    def _resampled(self, batch: Batch) -> Tensor:
        """Return pixels in 0..255, float32; members with the same size share them."""

        def stretch(images: Batch) -> Tensor:
            empty = torch.zeros((0, 3, *self.size), device=images.device)
            stretched = (
                functional.interpolate(image.float(), self.size, mode=self.view.mode)
                for image in images.pixels()
            )
            return torch.cat([empty, *stretched])

        return batch.rows(("sampled", *self.size, self.view.mode), stretch)


def top_predictions(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the K highest-scoring pairs of query and class, in descending order.

    K is the number of queries, as in the official post-processing, but at most 100.

    Args:
        logits: Independent logits of each class, shape (B, Q, C).

    Returns:
        Scores in [0, 1], class and query indices, each of shape (B, K).
    """
    flat = logits.float().sigmoid().flatten(1)
    scores, indices = flat.topk(min(MAX_BOXES, logits.shape[1]))
    return scores, indices % logits.shape[2], indices // logits.shape[2]


def keep_float32(module: nn.Module) -> nn.Module:
    """Wrap the layers that compute boxes to exclude them from autocast, and return the module."""
    for name, child in module.named_children():
        if name not in _FLOAT32_MODULES:
            keep_float32(child)
        elif isinstance(child, nn.ModuleList):
            setattr(module, name, nn.ModuleList(_Float32(layer) for layer in child))
        else:
            setattr(module, name, _Float32(child))
    return module


def class_names(
    module: nn.Module, classes: Sequence[str] | None, *, origin: object
) -> tuple[str, ...]:
    """Return the names of the model's outputs: the checkpoint's, or else `classes`.

    Raises:
        CheckpointError: Neither or both name the classes, or their number is wrong.
    """
    config: Any = module.config
    trained: Sequence[str] | None = getattr(config, "classes", None)
    if trained is not None:
        return tuple(trained)
    own = tuple(config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels))
    if own != tuple(f"LABEL_{i}" for i in range(len(own))):
        if classes is None:
            return own
        raise CheckpointError(f"{origin} names its own classes: leave out `classes`.")
    if classes is None or len(classes) != len(own):
        raise CheckpointError(
            f"{origin} does not name its {len(own)} classes: give all of them, in order, as "
            f"the parameter `classes`, got {len(classes or ())}."
        )
    return tuple(classes)


def _new_network(module: Any, classes: tuple[str, ...]) -> nn.Module:
    """Return a trainable network of the same architecture for other classes."""
    config = _config_for(module.config, classes)
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False  # its weights come from `module`
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        new = type(module)(config)
    new.loss_function = _in_float32(new.loss_function)
    return keep_float32(new).eval()


def _config_for(config: Any, classes: tuple[str, ...]) -> Any:
    config = deepcopy(config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    config.classes = list(classes)  # marks a checkpoint trained here
    return config


def _in_float32(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss with autocast disabled."""

    def float32_loss(logits: Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(logits.device.type, enabled=False):
            return loss(logits, *args, **kwargs)

    return float32_loss


def _unwrap(module: nn.Module) -> nn.Module:
    """Undo `keep_float32`."""
    for name, child in module.named_children():
        if isinstance(child, _Float32):
            setattr(module, name, child.inner)
        elif isinstance(child, nn.ModuleList) and any(isinstance(x, _Float32) for x in child):
            inner = (layer.inner if isinstance(layer, _Float32) else layer for layer in child)
            setattr(module, name, nn.ModuleList(inner))
        else:
            _unwrap(child)
    return module


class _Float32(nn.Module):
    """Layer that computes in float32, even under autocast."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.autocast(inputs[0].device.type, enabled=False):
            return self.inner(*(tensor.float() for tensor in inputs))
