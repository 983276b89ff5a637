"""A small RT-DETRv2 on the frozen trunk, with the loss and the post-processing of transformers.

The only file that knows how `RTDetrV2ForObjectDetection` is put together.

- [0] Lv et al., RT-DETRv2: Improved Baseline with Bag-of-Freebies, 2024
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Without it every deformable attention waits for the device once: read when it is called.
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")

from transformers import (
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

from cascade.checkpoints import checkpoint as checkpoints
from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import (
    MIN_SCORE,
    carry_over,
    flatten,
    named_classes,
    open_checkpoint,
    to_centres,
    to_detections,
)
from cascade.models.embedding import mobilenet
from cascade.predictions import Detections
from cascade.protocols import Tensors

ADAPTER = "rt_detr"
_ARCHITECTURE = {
    "d_model": 64,
    "encoder_hidden_dim": 64,
    "encoder_ffn_dim": 128,
    "encoder_attention_heads": 4,
    "decoder_in_channels": [64, 64, 64],
    "decoder_ffn_dim": 128,
    "decoder_attention_heads": 4,
    "decoder_layers": 3,
    "hidden_expansion": 0.375,
    "num_queries": 60,
    "num_denoising": 40,
    "tie_word_embeddings": True,
}


class RtDetr:
    """The detector, read from a checkpoint or, where that is None, newly initialised.

    Args:
        checkpoint: A folder that `save` wrote.
        classes: What it is to name, where there is no checkpoint.
        size: Height and width that images are stretched to, in pixels; a multiple of 32.
        seed: Of the initialisation.
        trunk_weights: Another file of the trunk's weights, for a machine without the package.

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
        trunk_weights: Path | None = None,
    ) -> None:
        self._trunk_weights = trunk_weights
        self._processor = RTDetrImageProcessor()
        if checkpoint is None:
            self.classes = named_classes(classes)
            self.size, self._architecture = size, dict(_ARCHITECTURE)
            self.module = _build(len(self.classes), self._architecture, seed)
            return
        config, tensors = open_checkpoint(
            checkpoint, adapter=ADAPTER, keys=("classes", "size", "architecture")
        )
        self.classes = tuple(config["classes"])
        self.size, self._architecture = config["size"], config["architecture"]
        self.module = _build(len(self.classes), self._architecture, seed)
        checkpoints.restore(self.module, tensors, origin=checkpoint)

    @property
    def view_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to, in pixels."""
        return self.size, self.size

    def prepare(self, batch: Batch) -> Tensors:
        """Return the trunk's maps, which other members may have computed already."""
        return {"features": mobilenet.trunk_features(batch, self.size, self._trunk_weights)}

    def forward(self, tensors: Tensors) -> Any:
        """Return transformers' own output, float32: logits and boxes of every query."""
        return self._precise(tensors)

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """Return the surest queries of each image; there is nothing to suppress."""
        found = self._processor.post_process_object_detection(
            raw, threshold=MIN_SCORE, target_sizes=[(1, 1)] * len(raw.logits)
        )
        return [
            to_detections(one["boxes"], one["scores"], one["labels"], self.classes, nms_iou=None)
            for one in found
        ]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the official loss: matched queries, auxiliary layers, denoising."""
        features: list[Tensor] = tensors["features"]
        device = features[0].device
        _, class_ids, boxes = flatten(targets, self.classes, device)
        sizes = [len(one) for one in targets]
        per_image = zip(
            torch.split(class_ids, sizes), torch.split(to_centres(boxes), sizes), strict=True
        )
        labels = [{"class_labels": ids, "boxes": rows} for ids, rows in per_image]
        loss: Tensor = self._precise(tensors, labels=labels).loss
        return loss

    def _precise(self, tensors: Tensors, **more: Any) -> Any:
        # In bf16 a relative coordinate is right to a pixel at best: too coarse to match by.
        with torch.autocast(tensors["features"][0].device.type, enabled=False):
            return self.module(**_inputs(tensors), **more)

    def with_classes(
        self, classes: Sequence[str], *, meaning: Callable[[str], str | None] | None = None
    ) -> RtDetr:
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


class _Carried(nn.Module):
    """Stands where the backbone was: hands out the maps that the pixels' place carries."""

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the maps of strides 8, 16 and 32 that `_inputs` laid end to end."""
        cells = pixel_values.shape[-1] // sum(
            channels * (32 // stride) ** 2
            for channels, stride in zip(mobilenet.CHANNELS, mobilenet.STRIDES, strict=True)
        )
        maps, start = [], 0
        for channels, stride in zip(mobilenet.CHANNELS, mobilenet.STRIDES, strict=True):
            side = round(cells**0.5) * (32 // stride)
            stop = start + channels * side * side
            one = pixel_values[:, 0, 0, start:stop].reshape(-1, channels, side, side)
            maps.append((one, pixel_mask))
            start = stop
        return maps


def _inputs(tensors: Tensors) -> dict[str, Tensor]:
    """Return the model's arguments: the maps end to end, where it expects pixels."""
    carried = torch.cat([one.flatten(1) for one in tensors["features"]], dim=1)[:, None, None]
    return {"pixel_values": carried, "pixel_mask": carried.new_ones(1)}


def _build(classes: int, architecture: dict[str, Any], seed: int) -> nn.Module:
    names = {i: str(i) for i in range(classes)}
    config = RTDetrV2Config(
        **architecture,
        backbone_config=RTDetrResNetConfig(  # built, then thrown away
            embedding_size=8,
            hidden_sizes=[8, *mobilenet.CHANNELS],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        ),
        encoder_in_channels=list(mobilenet.CHANNELS),
        feat_strides=list(mobilenet.STRIDES),
        id2label=names,
        label2id={name: i for i, name in names.items()},
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = RTDetrV2ForObjectDetection(config)
        module.model.backbone = _Carried()
        module.class_embed = module.model.decoder.class_embed  # shared, in every version
        module.bbox_embed = module.model.decoder.bbox_embed
        _initialise(module)
    return module.eval()


def _initialise(module: nn.Module) -> None:
    """Draw new weights where transformers' initialisation is only meant to be overwritten.

    It draws all of them, those of normalisations too, with a deviation of 0.01, from which a
    model of this depth does not start to learn.
    """
    for name, one in module.named_modules():
        if isinstance(one, nn.Conv2d | nn.BatchNorm2d):
            one.reset_parameters()
        elif isinstance(one, nn.Linear) and not any(part in name for part in _INITIALISED_WELL):
            nn.init.xavier_uniform_(one.weight)
            nn.init.zeros_(one.bias)
    for name, one in module.named_modules():
        if isinstance(one, nn.Linear) and name.endswith("layers.2") and "bbox" in name:
            nn.init.zeros_(one.weight)


_INITIALISED_WELL = (
    "class_embed",
    "enc_score_head",
    "sampling_offsets",
    "attention_weights",
    "value_proj",
)


def _is_of_classes(name: str) -> bool:
    """Tell whether a tensor has one row per class."""
    return any(part in name for part in ("class_embed", "enc_score_head"))
