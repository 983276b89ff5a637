"""The smallest metric Depth Anything 3 that its package can build: 21 million random weights.

The depth and width of its backbone are fixed by name, `vits` being the smallest; only the head
can be made tiny. Needs the package depth-anything-3 when it writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_case import Case, seeded
from torch import nn

SIZE = 70
ARCHITECTURE: dict[str, Any] = {
    "__object__": {"path": "depth_anything_3.model.da3", "name": "DepthAnything3Net"},
    "net": {
        "__object__": {"path": "depth_anything_3.model.dinov2.dinov2", "name": "DinoV2"},
        "name": "vits",
        "out_layers": [2, 5, 8, 11],
        "alt_start": -1,
        "qknorm_start": -1,
        "rope_start": -1,
        "cat_token": False,
    },
    "head": {
        "__object__": {"path": "depth_anything_3.model.dpt", "name": "DPT"},
        "dim_in": 384,
        "output_dim": 1,
        "features": 16,
        "out_channels": [8, 8, 8, 8],
    },
}


def write(folder: Path) -> Path:
    """Write the checkpoint into the folder, its sky about half of an image."""
    from cascade.models.depth import depth_anything_3

    with seeded():
        network = depth_anything_3.build_network(ARCHITECTURE, folder)
        with torch.no_grad():
            for tensor in (
                network.backbone.pretrained.pos_embed,
                network.backbone.pretrained.cls_token,
            ):
                nn.init.normal_(tensor)
            for tensor in network.head.parameters():
                if tensor.ndim == 4:
                    nn.init.kaiming_uniform_(tensor, a=1.0)
    tensors = {
        f"model.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")
    config = {"model_name": "da3metric-small", "config": ARCHITECTURE}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


CASES = {
    "depth_anything_3_metric": Case(
        adapter="depth_anything_3",
        write=write,
        params={"size": SIZE},
        members=("depth_anything_3_metric_l",),
        tolerance=1e-3,
    )
}
