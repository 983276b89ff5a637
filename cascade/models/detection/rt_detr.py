"""Small RT-DETRv2 on the frozen trunk, with the loss and post-processing from transformers.

This is the only file that depends on the internals of `RTDetrV2ForObjectDetection`.

- [0] Lv et al., RT-DETRv2: Improved Baseline with Bag-of-Freebies, 2024
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Avoids one device synchronization per deformable attention; read at each call.
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")

from transformers import (
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

from cascade.imaging.batches import Batch
from cascade.models.detection.detector_head import MIN_SCORE, detr_labels, to_detections
from cascade.models.detection.small_detector import Blueprint, SmallDetector
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


class RtDetr(SmallDetector):
    """Detector on the frozen trunk; see `SmallDetector` for the other parameters.

    Args:
        checkpoint: Folder written by `save`.
        trunk_weights: File with the trunk's weights, for a machine without the package.
        params: Parameters of `SmallDetector`.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, trunk_weights: Path | None = None, **params: Any
    ) -> None:
        self.blueprint = Blueprint(ADAPTER, _ARCHITECTURE, _build, is_class_tensor)
        self._trunk_weights = trunk_weights
        self._processor = RTDetrImageProcessor()
        super().__init__(checkpoint, **params)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the trunk's maps, shared between members."""
        return {"features": mobilenet.trunk_features(batch, self.size, self._trunk_weights)}

    def forward(self, tensors: Tensors) -> Any:
        """Return the output as transformers does, float32: logits and boxes of every query."""
        return self._run_float32(tensors)

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """Return the highest-scoring queries of each image, without suppression."""
        results = self._processor.post_process_object_detection(
            raw, threshold=MIN_SCORE, target_sizes=[(1, 1)] * len(raw.logits)
        )
        return [
            to_detections(
                result["boxes"], result["scores"], result["labels"], self.classes, nms_iou=None
            )
            for result in results
        ]

    def loss(self, tensors: Tensors, targets: Sequence[Detections]) -> Tensor:
        """Return the official loss: matched queries, auxiliary layers, denoising."""
        labels = detr_labels(targets, self.classes, tensors["features"][0].device)
        loss: Tensor = self._run_float32(tensors, labels=labels).loss
        return loss

    def _run_float32(self, tensors: Tensors, **labels: Any) -> Any:
        # In bf16 a relative coordinate is accurate to a pixel at best: too coarse for matching.
        with torch.autocast(tensors["features"][0].device.type, enabled=False):
            return self.module(**_inputs(tensors), **labels)


class _UnpackFeatures(nn.Module):
    """Replacement of the backbone; returns the feature maps passed as pixels."""

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the maps of strides 8, 16 and 32 that `_inputs` concatenated."""
        cells = pixel_values.shape[-1] // sum(
            channels * (32 // stride) ** 2
            for channels, stride in zip(mobilenet.CHANNELS, mobilenet.STRIDES, strict=True)
        )
        maps, start = [], 0
        for channels, stride in zip(mobilenet.CHANNELS, mobilenet.STRIDES, strict=True):
            side = round(cells**0.5) * (32 // stride)
            stop = start + channels * side * side
            feature_map = pixel_values[:, 0, 0, start:stop].reshape(-1, channels, side, side)
            maps.append((feature_map, pixel_mask))
            start = stop
        return maps


def _inputs(tensors: Tensors) -> dict[str, Tensor]:
    """Return the model's arguments: the concatenated maps instead of pixels."""
    flat = torch.cat([maps.flatten(1) for maps in tensors["features"]], dim=1)[:, None, None]
    return {"pixel_values": flat, "pixel_mask": flat.new_ones(1)}


def _build(classes: int, architecture: dict[str, Any], seed: int) -> nn.Module:
    names = {i: str(i) for i in range(classes)}
    config = RTDetrV2Config(
        **architecture,
        backbone_config=RTDetrResNetConfig(  # built, then discarded
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
        module.model.backbone = _UnpackFeatures()
        module.class_embed = module.model.decoder.class_embed  # shared in every version
        module.bbox_embed = module.model.decoder.bbox_embed
        _initialize(module)
    return module.eval()


def _initialize(module: nn.Module) -> None:
    """Draw new weights where the initialization in transformers is unsuitable for training.

    It draws all weights, also those of normalization layers, with a deviation of 0.01, and a
    model of this depth does not start to learn from that.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear) and not any(part in name for part in _WELL_INITIALIZED):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and name.endswith("layers.2") and "bbox" in name:
            nn.init.zeros_(layer.weight)


_WELL_INITIALIZED = (
    "class_embed",
    "enc_score_head",
    "sampling_offsets",
    "attention_weights",
    "value_proj",
)


def is_class_tensor(name: str) -> bool:
    """Return whether a tensor has one row per class."""
    return any(part in name for part in ("class_embed", "enc_score_head"))
