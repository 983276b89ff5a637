"""The members of `bench_engine.py`: of published size, and what they are called, they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from full_size import WRITERS
from pictures import drawn

from cascade import taxonomy
from cascade.runtime.devices import default_device


def _speaking(folder: Path, member: str) -> Path:
    """Write a detector that surely finds about a dozen boxes an image, in words of ours."""
    WRITERS[member](folder)
    names = taxonomy.load("roadwork").names
    model = transformers.AutoModelForObjectDetection.from_pretrained(folder, dtype=torch.float32)
    model.config.id2label = {i: names[i % len(names)] for i in model.config.id2label}
    model.config.label2id = {name: i for i, name in enumerate(names)}
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    device = default_device()
    seen = processor(images=drawn([(720, 1280)] * 4, seed=1), return_tensors="pt").pixel_values
    _settle(model.to(device).eval(), seen.to(device))
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


@torch.no_grad()
def _settle(model: Any, seen: torch.Tensor) -> None:
    """Spread the scores of the last layer, so that the 12th of an image is just over 0.3."""
    rows = [
        one
        for name, one in model.named_modules()
        if isinstance(one, torch.nn.Linear) and "class_embed" in name and "enc_out" not in name
    ]
    head = rows[-1]
    for _ in range(3):  # D-FINE adds to its logits what this cannot scale
        logits = model(pixel_values=seen).logits.float().flatten(1)
        spread = _SPREAD / logits.std(dim=1).mean()
        head.weight.mul_(spread)
        head.bias.mul_(spread)
        logits = model(pixel_values=seen).logits.float().flatten(1)
        head.bias.add_(_SURE - logits.topk(_FOUND).values[:, -1].mean())


_SPREAD, _SURE, _FOUND = 1.5, -0.7, 12  # sigmoid(-0.7) = 0.33


ENGINE_WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "dinov3_l": WRITERS["dinov3_l"],
    "rt_detr_v2_r50": partial(_speaking, member="rt_detr_v2_r50"),
    "d_fine_l": partial(_speaking, member="d_fine_l"),
    "rf_detr_l": partial(_speaking, member="rf_detr_l"),
    "depth_anything_2_l": WRITERS["depth_anything_2_l"],
}
"""By member: writes its checkpoint into an empty folder and returns what `source` would name."""
