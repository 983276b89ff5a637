"""Tiny Depth Anything V2 networks of random weights, with varying depth."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import transformers
from tiny_case import Case, seeded

SIZE = 56
MAX_DEPTH = 80
_BACKBONE = {
    "model_type": "dinov2",
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": SIZE,
    "patch_size": 14,
    "out_indices": [1, 2, 3, 4],
    "apply_layernorm": True,
    "reshape_hidden_states": False,
}


def write(folder: Path, *, kind: str) -> Path:
    """Write the checkpoint into the folder.

    Args:
        folder: Where.
        kind: `relative` or `metric`.
    """
    config = transformers.DepthAnythingConfig(
        backbone_config=_BACKBONE,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=MAX_DEPTH if kind == "metric" else 1,
    )
    with seeded():
        network = transformers.DepthAnythingForDepthEstimation(config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.ndim == 4 and not name.startswith("backbone"):  # else all but constant
                    torch.nn.init.kaiming_uniform_(parameter, a=1.0)
            if kind == "relative":  # cut off at 0, so above it
                network.head.conv3.weight.mul_(0.3)
                network.head.conv3.bias.fill_(1.5)
    network.save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": SIZE, "width": SIZE},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return folder


CASES = {
    "depth_anything_2_relative": Case(
        adapter="depth_anything_2", write=partial(write, kind="relative"), tolerance=1e-3
    ),
    "depth_anything_2_metric": Case(
        adapter="depth_anything_2",
        write=partial(write, kind="metric"),
        members=("depth_anything_2_metric_outdoor_s", "depth_anything_2_metric_outdoor_l"),
        tolerance=1e-3,
    ),
}
