"""Tiny random YOLOE-26 and YOLO-World, exported like the large models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_case
import torch
import yaml
from tiny_case import Case

from cascade import taxonomy
from cascade.models.huggingface.prompts import prompts_of
from cascade.models.ultralytics import yoloe
from cascade.models.ultralytics.network import detection_model, side_effects_undone

SIDE = 96
_DIMENSIONS = 512  # of CLIP and MobileCLIP
_CONTRAST = {"BNContrastiveHead": 1.0, "ContrastiveHead": 4.5}  # logarithm of the logits' scale


def network(yaml_name: str, family: str) -> Any:
    """Return a random network of a packaged architecture with an eighth of its width."""
    detection_model()
    import ultralytics
    from ultralytics.nn import tasks

    file = Path(ultralytics.__file__).parent / "cfg" / "models" / yaml_name
    content = yaml.safe_load(file.read_text())
    content |= {"scales": {"n": [0.33, 0.125, 256]}, "scale": "n", "nc": 8}
    with tiny_case.seeded():
        model = getattr(tasks, family)(content, ch=3, nc=content["nc"], verbose=False)
        for layer in model.modules():
            if type(layer).__name__ in _CONTRAST:
                layer.bias.data.fill_(-5.5)  # initially, no score reaches the minimum
                layer.logit_scale.data.fill_(_CONTRAST[type(layer).__name__])
        _settle(model)
    return model.eval()


def _settle(model: torch.nn.Module) -> None:
    """Take the statistics of normalizations from noise: initially, activations fade."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    fine, coarse = torch.rand(8, 3, SIDE, SIDE), torch.rand(8, 3, 12, 12)
    with torch.no_grad():
        model.train()(torch.cat([fine, torch.nn.functional.interpolate(coarse, (SIDE, SIDE))]))


def write_pt(model: torch.nn.Module, path: Path) -> Path:
    """Write a network in the format of ultralytics' releases."""
    with side_effects_undone():
        torch.save({"model": model, "ema": None, "license": "AGPL-3.0"}, path)
    return path


def embeddings(count: int) -> torch.Tensor:
    """Return `count` random unit vectors, shape (count, 512)."""
    with tiny_case.seeded(1):
        return torch.nn.functional.normalize(torch.randn(count, _DIMENSIONS), dim=-1)


def _write(folder: Path, yaml_name: str, family: str) -> Path:
    prompts = prompts_of(taxonomy.load("roadwork"))
    pt = write_pt(network(yaml_name, family), folder.with_suffix(".pt"))
    yoloe.export(
        pt,
        folder,
        prompts=prompts,
        embeddings=embeddings(len(prompts)),
        size=SIDE,
    )
    pt.unlink()
    return folder


def _write_yoloe(folder: Path) -> Path:
    return _write(folder, "26/yoloe-26-seg.yaml", "YOLOESegModel")


def _write_world(folder: Path) -> Path:
    return _write(folder, "v8/yolov8-worldv2.yaml", "WorldModel")


CASES = {
    "yoloe": Case("yoloe", _write_yoloe, members=("yoloe_26x",)),
    "yolo_world": Case("yoloe", _write_world, members=("yolo_world_x",)),
}
