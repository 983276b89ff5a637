"""Measure the effect of retraining on more labels, and the quality of distilled students.

    python tools/studies/retraining.py --data construction_site_safety --out OUT [--seeds 0 1]

For every seed, in parallel: a champion of two members (RT-DETRv2 of transformers on a MobileNetV2,
YOLO26 of ultralytics) trains on 30 % of the labels. A challenger continues from its checkpoints
with 60 %, and a control with the same 30 %, to separate the effect of steps from that of labels. A
student (a center-point head on a MobileNetV2) trains on the 60 %, then also on the challenger's
predictions of the other images; another one (`untaught`) on the 60 % only, with as many steps.
Models are selected on the split `valid` and measured on `test`. OUT/retraining.json has the figures
with bootstrap intervals; OUT/predictions.json and archives of the models are written after every
step. Training images whose source photograph is in another split are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing as mp
import platform
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from retraining_data import CLASSES, SHARES, read_split, shares, to_rows
from retraining_figures import PredictionsByRole, figures, map50
from retraining_fits import MEMBERS, STUDENT, Job, Recipe, fit_one, log_to_stdout

from cascade import manifest, registry
from cascade.ensemble import Ensemble
from cascade.imaging import batches as image_batches
from cascade.imaging.batches import Batch
from cascade.inference import decision
from cascade.predictions import Detections
from cascade.protocols import predict
from cascade.taxonomy import Decision, ObjectClass, Taxonomy
from cascade.training import distillation
from cascade.training.examples import Example

logger = logging.getLogger("show")

DECIDING = ("Safety Cone", "machinery")
RECIPES = MEMBERS | {"student": STUDENT}
STUDENTS = ("student", "untaught")
OVERHEAD_S = 30  # per seed, for measurements
REMAINING = 4  # duration of the later fits, relative to the champions'


def main() -> int:
    """Train and measure all models, and write the figures."""
    args = _arguments()
    log_to_stdout("main")
    Path(args.out).mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="retraining-") as scratch,
        ProcessPoolExecutor(args.at_once, mp_context=mp.get_context("spawn")) as pool,
    ):
        study = _Study(args, Path(scratch), pool)
        study.train_ensembles()
        study.train_students()
        for seed in args.seeds:
            study.measure_speeds(seed)
        if args.draws:
            study.report |= figures(study.predictions, study.splits["test"], args.draws)
            study.write()
        shown = {k: v for k, v in study.report.items() if k not in ("fits", "recipes")}
        logger.info("%s", json.dumps(shown, indent=1))
    return 0


class _Study:
    """State of a run: settings, ensembles, predictions and figures."""

    def __init__(self, args: argparse.Namespace, root: Path, pool: ProcessPoolExecutor) -> None:
        self._args, self._root, self._pool = args, root, pool
        self._started = time.perf_counter()
        self._device = torch.device(args.device)
        self._ensembles: dict[tuple[int, str], Ensemble] = {}
        self._scale: float = args.scale
        self.splits = {
            split: read_split(Path(args.data), split) for split in ("train", "valid", "test")
        }
        self.predictions: PredictionsByRole = {}
        self.report: dict[str, Any] = {
            "setting": vars(args),
            "images": {name: len(examples) for name, examples in self.splits.items()},
            "recipes": {name: asdict(recipe) for name, recipe in RECIPES.items()},
            "machine": _machine(self._device),
            "fits": {}, "map50": {}, "valid": {}, "speeds": {},
        }  # fmt: skip

    def seconds(self) -> float:
        """Return the elapsed seconds."""
        return time.perf_counter() - self._started

    def left(self) -> float:
        """Return the remaining seconds."""
        return float(self._args.within) - self.seconds()

    def write(self) -> None:
        """Write the results so far."""
        self.report["seconds"] = round(self.seconds(), 1)
        out = Path(self._args.out)
        predictions = {
            f"{role}-{seed}": [to_rows(boxes) for boxes in rows]
            for (seed, role), rows in self.predictions.items()
        }
        (out / "predictions.json").write_text(json.dumps(predictions))
        (out / "retraining.json").write_text(json.dumps(self.report, indent=1) + "\n")

    def train_ensembles(self) -> None:
        """Train the ensembles, and predict the splits `valid` and `test`."""
        began = time.perf_counter()
        self._collect(self._members("champion"))
        self._limit_duration(time.perf_counter() - began)
        self._collect(self._members("challenger") + self._members("control"))
        for seed, role in itertools.product(self._args.seeds, SHARES):
            ensemble = _ensemble(self._root / str(seed) / role, self.splits["valid"], self._device)
            self._ensembles[seed, role] = ensemble
            for split in ("test", "valid"):
                rows = _rows(ensemble, self.splits[split], self._device)
                for member in MEMBERS:
                    self._record(f"{role}-{member}-{seed}", split, [row[member] for row in rows])
                fused = _fused(ensemble, rows)
                self._record(f"{role}-{seed}", split, fused)
                if split == "test":
                    self.predictions[seed, role] = fused
        self._archive(*SHARES)

    def train_students(self) -> None:
        """Train the students of the challengers, and predict the same splits."""
        for seed in self._args.seeds:
            labeled = shares(len(self.splits["train"]), seed)["challenger"]
            path = self._root / str(seed) / "pseudo_labels.json"
            teacher = self._ensembles[seed, "challenger"]
            _write_pseudo_labels(teacher, self.splits, labeled, path, self._device)
        runs = list(itertools.product(self._args.seeds, STUDENTS))
        jobs = [self._student_job(seed, role) for seed, role in runs]
        self._collect([(job.name, self._pool.submit(fit_one, job)) for job in jobs])
        for seed, role in runs:
            model = registry.create(STUDENT.adapter, self._root / str(seed) / role / "whole")
            model.module.to(self._device)
            for split in ("test", "valid"):
                batches = _batches(self.splits[split], self._device, size=16)
                predictions = [boxes for batch in batches for boxes in predict(model, batch)]
                self._record(f"{role}-{seed}", split, predictions)
                if split == "test":
                    self.predictions[seed, role] = predictions
        self._archive(*STUDENTS)

    def _record(self, name: str, split: str, said: Sequence[Detections]) -> None:
        """Put down the mAP50 of some answers."""
        truths = [example.target for example in self.splits[split]]
        self.report["map50" if split == "test" else split][name] = map50(said, truths)

    def measure_speeds(self, seed: int) -> None:
        """Put down images per second of a seed's ensemble and student."""
        folder = self._root / str(seed) / "student" / "whole"
        ensemble = self._ensembles[seed, "challenger"]
        for place in dict.fromkeys((self._args.device, *(("cpu",) * self._args.on_cpu_too))):
            self.report["speeds"] |= {
                f"seed {seed}, {setting}": rates
                for setting, rates in _speeds(folder, ensemble, self.splits["test"], place).items()
            }
        self.write()

    def _members(self, role: str) -> list[tuple[str, Future[dict[str, Any]]]]:
        return [
            (f"{role}-{m}-{seed}", self._pool.submit(fit_one, self._job(
                f"{role}-{m}-{seed}", recipe, seed, role, self._root / str(seed) / role / m,
                source=None if role == "champion" else str(self._root / str(seed) / "champion" / m),
            )))
            for seed in self._args.seeds
            for m, recipe in MEMBERS.items()
        ]  # fmt: skip

    def _student_job(self, seed: int, role: str) -> Job:
        folder = self._root / str(seed)
        return self._job(
            f"{role}-{seed}", STUDENT, seed, "challenger", folder / role / "whole",
            pseudo_labels=str(folder / "pseudo_labels.json") if role == "student" else None,
        )  # fmt: skip

    def _job(
        self, name: str, recipe: Recipe, seed: int, share: str, out: Path,
        *, source: str | None = None, pseudo_labels: str | None = None,
    ) -> Job:  # fmt: skip
        return Job(
            name=name, recipe=recipe, source=source, data=self._args.data,
            labeled=shares(len(self.splits["train"]), seed)[share], out=str(out),
            size=self._args.size, seed=seed, device=self._args.device, scale=self._scale,
            pseudo_labels=pseudo_labels,
        )  # fmt: skip

    def _collect(self, fits: Sequence[tuple[str, Future[dict[str, Any]]]]) -> None:
        for name, future in fits:
            self.report["fits"][name] = future.result()
        self.write()

    def _archive(self, *roles: str) -> None:
        """Write one archive of checkpoints per role."""
        for seed, role in itertools.product(self._args.seeds, roles):
            with tarfile.open(Path(self._args.out) / f"{seed}-{role}.tar.gz", "w:gz") as archive:
                for path in sorted((self._root / str(seed) / role).glob("*")):
                    if not path.name.endswith("-start"):
                        archive.add(path, arcname=f"{role}/{path.name}")
        self.write()

    def _limit_duration(self, seconds: float) -> None:
        """Shorten the remaining fits if the champions' duration exceeds the time limit."""
        left = self.left() - OVERHEAD_S * len(self._args.seeds)
        self._scale *= min(1.0, max(0.1, left / (REMAINING * seconds)))
        logger.info("champions: %.0f s; scale of the remaining fits: %.2f", seconds, self._scale)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="the folder construction_site_safety")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--within", type=float, default=3600, help="time limit in seconds")
    parser.add_argument("--size", type=int, default=416, help="input size, a multiple of 32")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of passes")
    parser.add_argument("--draws", type=int, default=400, help="bootstrap draws; 0 for none")
    parser.add_argument("--on-cpu-too", action="store_true", help="also measure speeds on the CPU")
    parser.add_argument("--at-once", type=int, default=6, help="parallel fits")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


# The ensemble.


def _ensemble(folder: Path, valid: Sequence[Example], device: torch.device) -> Ensemble:
    """Return the ensemble of the members in a folder, calibrated on the split `valid`."""
    parsed = manifest.Manifest.model_validate(
        {
            "name": "construction",
            "members": [
                {
                    "name": name, "tier": "detection", "adapter": recipe.adapter,
                    "source": str(folder / name), "license": "AGPL-3.0",
                }
                for name, recipe in MEMBERS.items()
            ],
        }
    )  # fmt: skip
    classes = Taxonomy(
        name="construction",
        decision=Decision(name="site", question="Is this a construction site?"),
        classes=tuple(ObjectClass(name=name, decides=name in DECIDING) for name in CLASSES),
    )
    started = Ensemble.from_manifest(parsed, taxonomy=classes)
    rows = _rows(started, valid, device)
    truths = [example.target for example in valid]
    return decision.recalibrate(rows, started, truths, _sizes(len(valid)))


def _write_pseudo_labels(
    teacher: Ensemble, splits: dict[str, list[Example]], labeled: Sequence[int], path: Path,
    device: torch.device,
) -> None:  # fmt: skip
    """Write the ensemble's predictions of unlabeled images, and the thresholds of each class."""
    unlabeled = [x for i, x in enumerate(splits["train"]) if i not in set(labeled)]
    on_valid, on_unlabeled = (
        _fused(teacher, _rows(teacher, part, device)) for part in (splits["valid"], unlabeled)
    )
    truths = [example.target for example in splits["valid"]]
    content = {
        "thresholds": distillation.thresholds(on_valid, truths, CLASSES),
        "found": [to_rows(boxes) for boxes in on_unlabeled],
    }
    path.write_text(json.dumps(content))


def _sizes(n: int) -> Any:
    return np.full((n, 2), 640, np.int64)  # as in the dataset


def _rows(ensemble: Ensemble, examples: Sequence[Example], device: torch.device) -> list[Any]:
    models = {name: ensemble.build(name, device) for name in ensemble.detectors}
    return [row for batch in _batches(examples, device, size=16) for row in _predict(models, batch)]


def _batches(examples: Sequence[Example], device: torch.device, *, size: int) -> list[Batch]:
    paths = [str(example.image) for example in examples]
    return [
        batch
        for batch, _ in image_batches.read_batches(
            paths, paths, batch_size=size, device=device, workers=8
        )
    ]


def _predict(models: dict[str, Any], batch: Batch) -> list[dict[str, Detections]]:
    rows = {name: predict(model, batch) for name, model in models.items()}
    return [{name: rows[name][i] for name in rows} for i in range(len(batch))]


def _fused(ensemble: Ensemble, rows: Sequence[Any]) -> list[Detections]:
    clusters, _ = decision.fuse_and_decide(
        decision.collect_votes(rows, ensemble), ensemble, _sizes(len(rows))
    )
    return decision.fused_detections(clusters)


def _predict_fused(ensemble: Ensemble, models: dict[str, Any], batch: Batch) -> list[Detections]:
    return _fused(ensemble, _predict(models, batch))


# Speed.


def _speeds(
    folder: Path, ensemble: Ensemble, test: Sequence[Example], place: str
) -> dict[str, Any]:
    """Return images per second of ensemble and student, from decoded images to boxes."""
    device = torch.device(place)
    models = {name: ensemble.build(name, device) for name in ensemble.detectors}
    student = registry.create(STUDENT.adapter, folder)
    student.module.to(device)
    calls: dict[str, Callable[[Batch], Any]] = {
        "ensemble": partial(_predict_fused, ensemble, models),
        "members alone": partial(_predict, models),
        "student": partial(predict, student),
    }
    speeds = {}
    for size in (1, 16):
        rate = {name: _rate(call, test, device, size) for name, call in calls.items()}
        rate["times"] = rate["student"] / rate["ensemble"]
        rate["times the members alone"] = rate["student"] / rate["members alone"]
        speeds[f"{place}, {size} at a time"] = {k: round(v, 2) for k, v in rate.items()}
    return speeds


def _rate(
    call: Callable[[Batch], Any], test: Sequence[Example], device: torch.device, size: int
) -> float:
    """Return images per second: the median of passes, after a warm-up pass."""
    passes = []
    for number in range(4):
        batches = _batches(test[:64], device, size=size)
        for batch in batches:
            batch.pixels()  # on the device before timing
        _wait(device)
        started = time.perf_counter()
        for batch in batches:
            call(batch)
        _wait(device)
        if number:
            passes.append(sum(map(len, batches)) / (time.perf_counter() - started))
    return float(np.median(passes))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _machine(device: torch.device) -> dict[str, str]:
    import transformers
    import ultralytics

    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "ultralytics": ultralytics.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
