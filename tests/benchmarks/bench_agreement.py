"""How far the engine's fast path says what plain float32 says, member by member.

    make bench-agreement     or:  python tests/benchmarks/bench_agreement.py --out build/bench

The fast path is the engine: half precision, compiled on a GPU, batches that overlap. The reference
is float32, uncompiled, eight images at a time. Detectors must have learned something: the packaged
ones have; two small ones of transformers' families learn eight scenes by heart first, for
minutes; and `--manifest` names those of yours. With `--full-size`, the embedder and the depth
estimator of `bench_engine.py`, too, with random weights: what they do is smooth. Every detector is
compared in fp16, bf16 and fp32, whatever its manifest says. Nothing is asserted: what comes out is
the result.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
sys.path.append(str(Path(__file__).parents[1] / "tiny"))

import torch
import transformers
from bench_engine import machine
from by_heart import PUPILS, learn, write_scenes
from engine_agreement import SURE, agreement, reference_of
from engine_members import write_checkpoints
from engine_run import Bench

from cascade import manifest
from cascade.engine import run, sinks
from cascade.engine.member_runner import Runner
from cascade.ensemble import Ensemble
from cascade.runtime.devices import default_device

logger = logging.getLogger("bench_agreement")

LEARNED_BY_HEART = 8  # images

SMALL = """
name: small
members:
  - {name: tiny_center, tier: detection, adapter: center_point, source: "package:tiny_center",
     license: Apache-2.0}
  - {name: tiny_rtdetr, tier: detection, adapter: rt_detr, source: "package:tiny_rtdetr",
     license: Apache-2.0}
  - {name: tiny_yolo, tier: detection, adapter: yolo, source: "package:tiny_yolo",
     license: AGPL-3.0, optional: true}
"""
LEARNED = """
name: learned
members:
  - {{name: {name}, tier: detection, adapter: detr, license: MIT, source: {folder}}}
"""
SMOOTH = """
name: smooth
members:
  - {{name: dinov3_l, tier: embedding, adapter: dino, license: MIT, source: {folder}/dinov3_l}}
  - {{name: depth_anything_2_l, tier: geometry, adapter: depth_anything_2, license: MIT,
     source: {folder}/depth_anything_2_l}}
"""


def main() -> int:
    """Train, compare, and write the report as it grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--images", type=int, default=32, help="8 of them are learned by heart")
    parser.add_argument("--precisions", default="fp16,bf16,fp32", help="of detectors")
    parser.add_argument("--eager", action="store_true", help="nothing is compiled")
    parser.add_argument("--manifest", type=Path, help="of more members to compare, on --photos")
    parser.add_argument("--photos", type=Path, help="folder of JPEGs")
    parser.add_argument("--full-size", action="store_true", help="DINOv3 and depth, too: for a GPU")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = default_device()
    report: dict[str, Any] = {"machine": machine(device), "agreement": {}}
    with tempfile.TemporaryDirectory() as scratch:
        examples = write_scenes(Path(scratch) / "scenes", asked.images)
        whole = Whole(device, report, asked)
        scenes = [Path(str(one.image)) for one in examples]
        whole.compare(SMALL, scenes)
        if asked.manifest:
            photos = sorted(asked.photos.glob("*.jpg"))[: asked.images]
            whole.compare(asked.manifest.read_text(), photos)
        for name in PUPILS:
            folder = Path(scratch) / name
            learn(folder, name, examples[:LEARNED_BY_HEART], device)
            text = LEARNED.format(name=name, folder=folder)
            whole.compare(text, scenes[:LEARNED_BY_HEART])
        if asked.full_size:
            folder = Path(scratch) / "weights"
            write_checkpoints(folder, names=("dinov3_l", "depth_anything_2_l"))
            whole.compare(SMOOTH.format(folder=folder), scenes)
    sys.stdout.write(whole.table())
    return 0


class Whole:
    """What every comparison shares."""

    def __init__(
        self, device: torch.device, report: dict[str, Any], asked: argparse.Namespace
    ) -> None:
        self._device, self._report, self._asked = device, report, asked

    def compare(self, text: str, paths: Sequence[Path]) -> None:
        """Compare every member of a manifest with what it says in float32."""
        ensemble = Ensemble.from_manifest(manifest.parse(text))
        ids = [str(i) for i in range(len(paths))]
        for name in ensemble.checkpoints:
            member = ensemble.manifest.member(name)
            plain = member.model_copy(update={"precision": "fp32"})
            model = ensemble.build(name, self._device)
            said = reference_of(model, plain, ids, paths, self._device)
            exact = {i: {name: one} for i, one in said.items()}
            half = ("bf16",) if member.tier != "detection" else self._asked.precisions.split(",")
            for precision in half:
                runner = self._runner(ensemble, name, precision)
                memory = sinks.MemorySink()
                bench = Bench(ensemble, {name: runner}, list(paths), self._device, {}, Path())
                bench.run(memory, ids)
                self._note(f"{name}, {precision}", agreement(memory.results, exact)[name])

    def table(self) -> str:
        """Return the results as Markdown."""
        rows = ["| member | agreement |", "| --- | --- |"]
        for name, one in self._report["agreement"].items():
            words = ", ".join(f"{what} {value:.5g}" for what, value in one.items())
            rows.append(f"| {name} | {words} |")
        return "\n".join([*rows, "", f"Boxes: of scores over {SURE}.", ""])

    def _runner(self, ensemble: Ensemble, name: str, precision: str) -> Runner:
        member = ensemble.manifest.member(name).model_copy(update={"precision": precision})
        models, compiled = {name: ensemble.build(name, self._device)}, not self._asked.eager
        return run.build_runners(models, {name: member}, self._device, compiled=compiled)[name]

    def _note(self, name: str, found: Any) -> None:
        self._report["agreement"][name] = found
        logger.info("%s: %s", name, json.dumps(found))
        self._asked.out.mkdir(parents=True, exist_ok=True)
        (self._asked.out / "agreement.json").write_text(json.dumps(self._report, indent=1))


if __name__ == "__main__":
    sys.exit(main())
