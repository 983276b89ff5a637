"""Tiny random detection transformers in the hub's format, with distinct predictions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tiny_case import Case, seeded, settle_norms
from torch import nn
from transformers import (
    Deimv2Config,
    Deimv2ForObjectDetection,
    DFineConfig,
    DFineForObjectDetection,
    PreTrainedModel,
    RfDetrConfig,
    RfDetrForObjectDetection,
    RfDetrImageProcessor,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

NAMES = {0: "traffic cone", 1: "barrier", 2: "worker"}
LABELS = {"id2label": NAMES, "label2id": {name: i for i, name in NAMES.items()}}
SIDE = 64  # of the view, in pixels
RESNET = {
    "model_type": "rt_detr_resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 24, 32],  # equal neighbors would not be strided
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage2", "stage3", "stage4"],
}
HGNET = {
    "model_type": "hgnet_v2",
    "embedding_size": 8,
    "stem_channels": [3, 8, 8],
    "hidden_sizes": [16, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "stage_in_channels": [8, 16, 16, 24],
    "stage_mid_channels": [8, 8, 8, 16],
    "stage_out_channels": [16, 16, 24, 32],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "stage_downsample": [False, True, True, True],
    "stage_light_block": [False, False, False, False],
    "stage_kernel_size": [3, 3, 3, 3],
    "out_features": ["stage2", "stage3", "stage4"],
}
_DETR = {
    "encoder_in_channels": [16, 24, 32],
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "d_model": 32,
    "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 64,
    "decoder_attention_heads": 2,
    "decoder_layers": 2,
    "num_queries": 30,
    "num_denoising": 0,
    **LABELS,
}
_DISTRIBUTED = _DETR | {"backbone_config": HGNET, "lqe_hidden_dim": 16}  # boxes as in D-FINE
RF_DETR = {
    "backbone_config": {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "num_windows": 2,
        "out_indices": [2, 4],
    },
    "d_model": 32,
    "decoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2,
    "num_queries": 30,
    "group_detr": 2,
    "c2f_num_blocks": 1,
    **LABELS,
}


def save(
    folder: Path, build: Callable[[], PreTrainedModel], processor: Any, *, seed: int = 0
) -> Path:
    """Write a random model and its processor into `folder`, in the format of the hub."""
    with seeded(seed):
        module = build().eval()
        _enliven(module)
        side = processor.size["height"]
        images = torch.rand(2, 3, side, side, dtype=module.dtype)
        settle_norms(module, lambda: module(pixel_values=images))
    module.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@torch.no_grad()
def _enliven(module: nn.Module) -> None:
    """Make the heads distinguish images and queries; their initialization does not."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and any(part in name for part in _HEADS):
            nn.init.normal_(layer.weight, std=0.1 if "bbox" in name else 0.3)
            nn.init.normal_(layer.bias, mean=0.0 if "bbox" in name else -1.0, std=0.1)


_HEADS = ("bbox", "class_embed", "enc_score_head")


def _write(folder: Path, *, build: Callable[[], PreTrainedModel], processor: type) -> Path:
    return save(folder, build, processor(size={"height": SIDE, "width": SIDE}))


def _case(
    family: type[PreTrainedModel], config: Callable[[], Any], *members: str, processor: type
) -> Case:
    return Case(
        adapter="detr",
        write=partial(_write, build=lambda: family(config()), processor=processor),
        members=members,
    )


CASES = {
    "rt_detr": _case(
        RTDetrForObjectDetection,
        lambda: RTDetrConfig(backbone_config=RESNET, **_DETR),
        processor=RTDetrImageProcessor,
    ),
    "rt_detr_v2": _case(
        RTDetrV2ForObjectDetection,
        lambda: RTDetrV2Config(backbone_config=RESNET, **_DETR),
        "rt_detr_v2_r50",
        processor=RTDetrImageProcessor,
    ),
    "d_fine": _case(
        DFineForObjectDetection,
        lambda: DFineConfig(**_DISTRIBUTED),
        "d_fine_l",
        "d_fine_x",
        processor=RTDetrImageProcessor,
    ),
    "deimv2": _case(
        Deimv2ForObjectDetection,
        lambda: Deimv2Config(**_DISTRIBUTED),
        "deimv2_l",
        processor=RTDetrImageProcessor,
    ),
    "rf_detr": _case(
        RfDetrForObjectDetection,
        lambda: RfDetrConfig(**RF_DETR),
        "rf_detr_l",
        processor=RfDetrImageProcessor,
    ),
}
