"""Tiny DINOv2 and DINOv3 vision transformers of random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import transformers
from tiny_case import Case, seeded

SIZE = 32
_TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_V2 = _TOWER | {"mlp_ratio": 2, "image_size": 28, "patch_size": 14}
_V3 = _TOWER | {"intermediate_size": 64, "image_size": SIZE, "patch_size": 16}


def write(folder: Path, *, config: Any, kind: Any) -> Path:
    """Write the checkpoint into the folder.

    Args:
        folder: Where.
        config: The configuration of the network.
        kind: Its class.
    """
    with seeded():
        kind(config).save_pretrained(folder)
    if config.model_type == "dinov3_vit":
        processor = transformers.DINOv3ViTImageProcessor(size={"height": SIZE, "width": SIZE})
    else:  # as on the hub: resized to more than is cut out of the middle
        processor = transformers.BitImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
        )
    processor.save_pretrained(folder)
    return folder


def _case(kind: Any, config: Any, *members: str) -> Case:
    return Case(
        adapter="dino", write=partial(write, config=config, kind=kind), members=tuple(members)
    )


CASES = {
    "dinov2": _case(transformers.Dinov2Model, transformers.Dinov2Config(**_V2), "dinov2_l"),
    "dinov2_with_registers": _case(
        transformers.Dinov2WithRegistersModel,
        transformers.Dinov2WithRegistersConfig(**_V2, num_register_tokens=4),
    ),
    "dinov3_vit": _case(
        transformers.DINOv3ViTModel,
        transformers.DINOv3ViTConfig(**_V3, num_register_tokens=4),
        "dinov3_l",
    ),
    "dinov3_vit_hplus": _case(  # the larger ones have a gated MLP
        transformers.DINOv3ViTModel,
        transformers.DINOv3ViTConfig(
            **_V3, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu"
        ),
        "dinov3_hplus",
    ),
}
