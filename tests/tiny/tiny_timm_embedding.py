"""A tiny vision transformer of timm, of random weights, as `save_for_hf` writes it."""

from __future__ import annotations

from pathlib import Path

import timm
from tiny_case import Case, seeded

SIZE = 64
ARCHITECTURE = {"img_size": SIZE, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2}
DATA = {  # none of it timm's default
    "input_size": (3, SIZE, SIZE),
    "interpolation": "bicubic",
    "mean": (0.4, 0.5, 0.6),
    "std": (0.2, 0.25, 0.3),
    "crop_pct": 0.9,
    "crop_mode": "center",
}


def write(folder: Path, *, name: str = "vit_tiny_patch16_224", classes: int = 5) -> Path:
    """Write the checkpoint, with a classifier that embedding leaves out, into the folder."""
    with seeded():
        network = timm.create_model(
            name, num_classes=classes, pretrained_cfg_overlay=DATA, **ARCHITECTURE
        )
    timm.models.save_for_hf(network, folder, model_args=ARCHITECTURE, safe_serialization=True)
    return folder


CASES = {"timm_vit": Case(adapter="timm", write=write)}
