"""Tiny random YOLO26 and YOLO11, as `.pt` files of ultralytics and as our folders."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from tiny_case import Case, seeded

from cascade.models.ultralytics.network import detection_model, side_effects_undone

CLASSES = ("cone", "drum", "sign")
SIZE = 64


def network(family: str, scale: str) -> Any:
    """Return a random model of an ultralytics YAML with an eighth of its width."""
    build = detection_model()
    import ultralytics

    path = Path(ultralytics.__file__).parent / "cfg" / "models" / family / f"yolo{family}.yaml"
    content = yaml.safe_load(path.read_text())
    content |= {"scales": {scale: [0.33, 0.125, 256]}, "scale": scale}
    with seeded():
        model = build(content, ch=3, nc=len(CLASSES), verbose=False)
        norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model.train()(torch.rand(8, 3, SIZE, SIZE))  # statistics that keep activations in range
        for norm in norms:
            norm.momentum = 0.03
        _spread(model.eval())
    model.names = dict(enumerate(CLASSES))
    model.args = {"imgsz": SIZE}
    return model


def _spread(model: Any) -> None:
    """Scale the last layers so that boxes and scores differ from cell to cell, but not wildly."""
    head, outputs = model.model[-1], {}
    for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):
        for level in getattr(head, name, None) or ():
            torch.nn.init.normal_(level[-1].weight)  # the two heads start as copies
            level[-1].register_forward_hook(
                lambda layer, _, answer, name=name: outputs.update({layer: (name, answer)})
            )
    with torch.no_grad():
        model(torch.rand(4, 3, SIZE, SIZE))
        for layer, (name, answer) in outputs.items():
            layer._forward_hooks.clear()
            middle, spread = (-1.5, 1.0) if name.endswith("cv3") else (1.5, 0.5)
            answer = answer - layer.bias[:, None, None]
            scale = spread / answer.std(dim=(0, 2, 3))
            layer.weight *= scale[:, None, None, None]
            layer.bias.copy_(middle - scale * answer.mean(dim=(0, 2, 3)))
            if name.endswith("cv2") and head.reg_max > 1:  # makes short sides likeliest
                layer.bias -= 0.7 * torch.arange(head.reg_max).repeat(4)


def write_pt(folder: Path, *, family: str = "26", scale: str = "x") -> Path:
    """Write a file with the parts of a release's, weights in half precision."""
    content = {
        "date": "2026-01-14T00:00:00",
        "version": "8.4.0",
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "epoch": -1,
        "best_fitness": None,
        "model": network(family, scale).half(),
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": {"imgsz": SIZE, "data": "coco.yaml"},
        "train_metrics": {"metrics/mAP50-95(B)": 0.5},
    }
    path = folder / f"yolo{family}{scale}.pt"
    with side_effects_undone():
        torch.save(content, path)
    return path


def write_folder(folder: Path, *, family: str, scale: str) -> Path:
    """Write such a file and convert it."""
    from cascade.models.ultralytics.detector import to_folder

    pt = write_pt(folder, family=family, scale=scale)
    to_folder(pt, folder / "converted")
    pt.unlink()
    return folder / "converted"


CASES = {
    "ultralytics_yolo26": Case(
        adapter="ultralytics",
        write=partial(write_pt, family="26", scale="x"),
        params={"size": SIZE},
        members=("yolo26x", "yolo26m"),
    ),
    "ultralytics_yolo26_nms_free": Case(
        adapter="ultralytics",
        write=partial(write_pt, family="26", scale="n"),
        params={"size": SIZE, "nms_free": True},
    ),
    "ultralytics_yolo11": Case(
        adapter="ultralytics",
        write=partial(write_folder, family="11", scale="x"),
        params={"size": SIZE},
        members=("yolo11x",),
    ),
}
