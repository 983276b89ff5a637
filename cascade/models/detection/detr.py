"""Detection transformers as transformers ships them: RT-DETR, RT-DETRv2, D-FINE, DEIMv2, RF-DETR.

A checkpoint is a folder as the hub has it; one that was trained here names its classes in its
configuration as `classes`, too. The loss is each family's own. Under autocast the backbone and the
attention run in half precision, but not what becomes a box: in bfloat16 a coordinate near 1 moves
in steps of 1/256, which are seven pixels of a full HD image's width.

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
import shutil
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn
from torch.nn import functional

# Without it every deformable attention waits for the device once, and breaks the graph.
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")

from transformers import AutoImageProcessor, AutoModelForObjectDetection, RfDetrImageProcessor

from cascade.checkpoints import checkpoint as checkpoints
from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.letterbox import Inset
from cascade.models.detection.detector_head import (
    MAX_BOXES,
    carry_over,
    flatten,
    named_classes,
    to_centres,
    to_detections,
)
from cascade.models.huggingface import image_processor, pretrained
from cascade.models.huggingface.image_processor import ProcessorView
from cascade.predictions import Detections
from cascade.protocols import Tensors

MODEL_TYPES = ("d_fine", "deimv2", "rf_detr", "rt_detr", "rt_detr_v2")
# What is never computed in half precision, by its name in transformers: the heads, and the maps
# whose dtype is also that of the anchors.
_PRECISE = frozenset(
    {
        "bbox_embed",
        "class_embed",
        "decoder_input_proj",
        "enc_bbox_head",
        "enc_out_bbox_embed",
        "enc_out_class_embed",
        "enc_score_head",
        "integral",
        "layer_norm",  # the last of RF-DETR's projector
        "lqe_layers",
        "pre_bbox_head",
    }
)


class DetrDetector:
    """A detection transformer; it suppresses its own doubles.

    As it is loaded it is for prediction; what `with_classes` returns can be trained.

    Args:
        checkpoint: A folder as the hub has it: configuration, processor, safetensors.
        classes: What it names, in the order of its outputs, where the checkpoint does not say;
            disregarded where it was trained here.

    Raises:
        CheckpointError: The folder is absent, incomplete or another family's, or names no classes.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, classes: Sequence[str] | None = None
    ) -> None:
        folder = pretrained.folder_of(checkpoint, MODEL_TYPES, adapter="detr")
        self._stretched = Stretched.of(folder)
        self.module = precise(pretrained.network(AutoModelForObjectDetection, folder))
        self.classes = class_names(self.module, classes, origin=folder)

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to, in pixels."""
        return self._stretched.size

    def training_view(self, batch: Batch) -> tuple[Tensor, list[Inset]]:
        """Return the stretched images before they are normalised, (B, 3, H, W), uint8."""
        height, width = self.view_size
        return self._stretched.views(batch), [Inset(0, 0, width, height)] * len(batch)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalised pixels, (B, 3, H, W), float32."""
        return {"pixel_values": self._stretched.pixels(batch)}

    def forward(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return logits (B, Q, C) and boxes `cx, cy, w, h` (B, Q, 4) of Q queries, float32."""
        pixels: Tensor = tensors["pixel_values"]
        if not len(pixels):  # which transformers cannot reshape
            return {
                "logits": pixels.new_zeros(0, 1, len(self.classes)),
                "boxes": pixels.new_zeros(0, 1, 4),
            }
        raw = self.module(pixel_values=pixels)
        return {"logits": raw.logits, "boxes": raw.pred_boxes}

    def decode(self, raw: dict[str, Tensor], batch: Batch) -> list[Detections]:
        """Return the surest boxes of each image, as the official post-processing finds them."""
        scores, class_ids, queries = surest(raw["logits"])
        centres, sides = raw["boxes"].float().chunk(2, dim=-1)
        corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=-1)
        boxes = corners.gather(1, queries[..., None].expand(-1, -1, 4))
        # Off the device once a batch, not once an image.
        rows = zip(boxes.cpu(), scores.cpu(), class_ids.cpu(), strict=True)
        return [to_detections(*row, classes=self.classes, nms_iou=None) for row in rows]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the family's own loss: matched queries, auxiliary layers, denoising."""
        pixels: Tensor = tensors["pixel_values"]
        _, class_ids, boxes = flatten(targets, self.classes, pixels.device)
        sizes = [len(one) for one in targets]
        per_image = zip(
            torch.split(class_ids, sizes), torch.split(to_centres(boxes), sizes), strict=True
        )
        labels = [{"class_labels": ids, "boxes": rows} for ids, rows in per_image]
        loss: Tensor = self.module(pixel_values=pixels, labels=labels).loss
        return loss

    def with_classes(
        self, classes: Sequence[str], *, meaning: Callable[[str], str | None] | None = None
    ) -> DetrDetector:
        """Return a copy that names `classes` and can be trained; what it knew of a class stays."""
        other = copy(self)
        other.classes = named_classes(classes)
        other.module = _like(self.module, other.classes)
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
        """Write the checkpoint into `folder`, as the hub would have it, whole or not at all.

        Raises:
            CheckpointError: The place cannot be written to.
        """
        draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
        try:
            draft.mkdir(parents=True)
            plain: Any = _plain(deepcopy(self.module))
            plain.config = _naming(plain.config, self.classes)
            plain.save_pretrained(draft)
            self._stretched.processor.save_pretrained(draft)
            checkpoints.put_in_place(draft, folder)
        except OSError as error:
            raise CheckpointError(f"The checkpoint {folder} cannot be written: {error}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@dataclass(frozen=True)
class Stretched:
    """Images stretched to one size, as the checkpoint's own processor does it.

    Attributes:
        view: Size, interpolation and normalisation.
        antialias: Whether downscaling is smoothed; RF-DETR's is not.
        processor: The checkpoint's own.
    """

    view: ProcessorView
    antialias: bool
    processor: Any

    @classmethod
    def of(cls, folder: Path) -> Stretched:
        """Return what the processor in `folder` does.

        Raises:
            CheckpointError: There is none, or it does something else, such as to keep proportions.
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
        """Return the normalised pixels of a batch, (B, 3, height, width), float32."""
        pixels = self.view.view(batch) if self.antialias else self._sampled(batch)
        return self.view.normalised(pixels)

    def views(self, batch: Batch) -> Tensor:
        """Return the same before normalisation, in whole grey levels, uint8."""
        if self.antialias:
            return self.view.view(batch)
        return self._sampled(batch).round().clamp(0, 255).to(torch.uint8)

    def _sampled(self, batch: Batch) -> Tensor:
        """Return pixels in 0..255, float32; members of one size share them."""

        def stretch(whole: Batch) -> Tensor:
            nothing = torch.zeros((0, 3, *self.size), device=whole.device)
            stretched = (
                functional.interpolate(one.float(), self.size, mode=self.view.mode)
                for one in whole.pixels()
            )
            return torch.cat([nothing, *stretched])

        return batch.rows(("sampled", *self.size, self.view.mode), stretch)


def surest(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the K surest pairs of a query and a class, in falling order.

    K is the number of queries, as in the official post-processing, but at most 100.

    Args:
        logits: Of every class, each for itself, shape (B, Q, C).

    Returns:
        Scores in [0, 1], class and query indices, each of shape (B, K).
    """
    flat = logits.float().sigmoid().flatten(1)
    scores, places = flat.topk(min(MAX_BOXES, logits.shape[1]))
    return scores, places % logits.shape[2], places // logits.shape[2]


def precise(module: nn.Module) -> nn.Module:
    """Return the module, what becomes a box wrapped so that autocast does not reach it."""
    for name, child in module.named_children():
        if name not in _PRECISE:
            precise(child)
        elif isinstance(child, nn.ModuleList):
            setattr(module, name, nn.ModuleList(_Precise(one) for one in child))
        else:
            setattr(module, name, _Precise(child))
    return module


def class_names(
    module: nn.Module, classes: Sequence[str] | None, *, origin: object
) -> tuple[str, ...]:
    """Return the names of the model's outputs: the checkpoint's, or `classes` where it has none.

    Raises:
        CheckpointError: Neither says, both do, or their number is not that of the outputs.
    """
    config: Any = module.config
    trained: Sequence[str] | None = getattr(config, "classes", None)
    if trained is not None:
        return tuple(trained)
    own = tuple(config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels))
    named = own != tuple(f"LABEL_{i}" for i in range(len(own)))
    if named and classes is None:
        return own
    if named:
        raise CheckpointError(f"{origin} names its own classes: leave out `classes`.")
    if classes is None or len(classes) != len(own):
        raise CheckpointError(
            f"{origin} does not name its {len(own)} classes: give all of them, in order, as "
            f"the parameter `classes`, got {len(classes or ())}."
        )
    return tuple(classes)


def _like(module: Any, classes: tuple[str, ...]) -> nn.Module:
    """Return a new network of the same architecture for other classes, to be trained."""
    config = _naming(module.config, classes)
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False  # what it knew comes from `module`
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        new = type(module)(config)
    new.loss_function = _exactly(new.loss_function)
    return precise(new).eval()


def _naming(config: Any, classes: tuple[str, ...]) -> Any:
    named = deepcopy(config)
    named.id2label = dict(enumerate(classes))
    named.label2id = {name: i for i, name in enumerate(classes)}
    named.classes = list(classes)  # says that it was trained here
    return named


def _exactly(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss, computed in float32 whatever autocast says around it."""

    def exact(logits: Tensor, *others: Any, **named: Any) -> Any:
        with torch.autocast(logits.device.type, enabled=False):
            return loss(logits, *others, **named)

    return exact


def _plain(module: nn.Module) -> nn.Module:
    """Undo `precise`."""
    for name, child in module.named_children():
        if isinstance(child, _Precise):
            setattr(module, name, child.inner)
        elif isinstance(child, nn.ModuleList) and any(isinstance(one, _Precise) for one in child):
            inner = (one.inner if isinstance(one, _Precise) else one for one in child)
            setattr(module, name, nn.ModuleList(inner))
        else:
            _plain(child)
    return module


def _is_of_classes(name: str) -> bool:
    """Tell whether a tensor has one row per class."""
    return any(part in name for part in ("class_embed", "enc_score_head"))


class _Precise(nn.Module):
    """Computes in float32, whatever autocast says around it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.autocast(inputs[0].device.type, enabled=False):
            return self.inner(*(one.float() for one in inputs))
