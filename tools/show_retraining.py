"""Show what retraining on more labels brings, and what a distilled student keeps of it.

    python tools/show_retraining.py --data construction_site_safety --out OUT [--seeds 2]

For every seed: a champion of two members (RT-DETRv2 of transformers on the frozen trunk, YOLO26
of ultralytics) learns 30 % of the labels, then a challenger goes on from its checkpoints with
60 %, and, so that more steps are not mistaken for more labels, a control goes on with the same
30 %. Students (centre points on the trunk) learn those 60 % and what the challenger says about
the other images, or those 60 % alone. Everything is chosen on the split `valid`; on `test` it is
only measured. OUT/retraining.json has the figures with bootstrap intervals; OUT/predictions.json
and archives of the models are written before, so that nothing is lost if time runs out. Training
images whose source photograph is in another split are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing as mp
import os
import platform
import re
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiny_rtdetr_loss

from cascade import images, manifest, registry, sources, voting
from cascade.average_precision import average_precision
from cascade.ensemble import Ensemble
from cascade.images import Batch
from cascade.metrics import grouped_bootstrap
from cascade.model import predict
from cascade.models import checkpoint
from cascade.predictions import Detections
from cascade.taxonomy import Decision, ObjectClass, Taxonomy
from cascade.training import distill
from cascade.training.fit import Example, FitResult, fit

logger = logging.getLogger("show")

CLASSES = (
    "Hardhat", "Mask", "NO-Hardhat", "NO-Mask", "NO-Safety Vest", "Person", "Safety Cone",
    "Safety Vest", "machinery", "vehicle",
)  # fmt: skip
WEIGHTS = Path(__file__).resolve().parents[1] / "cascade" / "weights"
DECIDING = ("Safety Cone", "machinery")
SHARES = {"champion": 0.3, "challenger": 0.6, "control": 0.3}  # of the labels
ALPHA = 0.05
OVERHEAD_S = 75  # of a run beside its fits: measuring, intervals, speeds


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        adapter: What builds it.
        start: The folder of packaged weights that it starts from; None for new ones.
        rate: The highest learning rate where its classes are new to it.
        again: The same where it goes on from a checkpoint of these classes.
        epochs: Passes over all of the training split's images, however few are labeled.
        params: Of the adapter, where it starts from new weights.
    """

    adapter: str
    start: str | None
    rate: float
    again: float
    epochs: int
    params: dict[str, Any] = field(default_factory=dict)


MEMBERS = {
    "rt_detr": Recipe("rt_detr", "tiny_rtdetr", rate=8e-4, again=6e-4, epochs=80),
    "yolo": Recipe("yolo", "tiny_yolo", rate=2e-3, again=1.4e-3, epochs=80),
}
STUDENTS = {
    "wide": Recipe(
        "center_point", None, rate=1.5e-3, again=1e-3, epochs=110, params={"width": 160}
    ),
    "wider": Recipe("center_point", None, rate=1e-3, again=7e-4, epochs=110, params={"width": 256}),
}


@dataclass(frozen=True)
class Job:
    """One fit, for a process of its own.

    Attributes:
        name: For the log.
        recipe: How.
        source: The checkpoint to go on from; None for the recipe's own start.
        data: The folder of the data set.
        labeled: Numbers of training images whose labels are learned.
        taught: A JSON file with the ensemble's answers on the other images; None for none.
        out: Where the checkpoint goes.
        size: Of the view.
        seed: Of the fit.
        device: Where.
        scale: Of the epochs, for a quick try.
    """

    name: str
    recipe: Recipe
    source: str | None
    data: str
    labeled: tuple[int, ...]
    out: str
    size: int
    seed: int
    device: str
    scale: float
    taught: str | None = None


def main() -> int:
    """Train, measure, write."""
    args = _arguments()
    _log_to_stdout("main")
    started = time.perf_counter()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    splits = {name: _read_split(Path(args.data), name) for name in ("train", "valid", "test")}
    logger.info("%s images", {name: len(one) for name, one in splits.items()})
    said: dict[tuple[int, str], list[Detections]] = {}
    report: dict[str, Any] = {
        "setting": vars(args),
        "images": {name: len(one) for name, one in splits.items()},
        "recipes": {name: asdict(one) for name, one in (MEMBERS | STUDENTS).items()},
        "machine": _machine(torch.device(args.device)),
        "fits": {},
        "members": {},
        "valid": {},
    }
    with (
        tempfile.TemporaryDirectory(prefix="retraining-") as scratch,
        ProcessPoolExecutor(args.at_once, mp_context=mp.get_context("spawn")) as pool,
    ):
        show = _Show(args, splits, Path(scratch), pool, report, started)
        for seed in range(args.seeds):
            if seed and show.left() < 0.9 * (time.perf_counter() - started) / seed:
                logger.warning("no time for seed %d", seed)
                break
            for train in (show.ensembles_of, show.students_of):
                said |= train(seed)
                _write(Path(args.out), "predictions.json", _answers(said))
                _write(Path(args.out), "retraining.json", report)
                _keep_models(Path(scratch) / str(seed), Path(args.out))
            if "speeds" not in report:
                report["speeds"] = show.speeds(seed)
            report["seconds"] = round(time.perf_counter() - started, 1)
            _write(Path(args.out), "retraining.json", report)
            report |= _figures(said, splits["test"], draws=args.draws)
            report["seconds"] = round(time.perf_counter() - started, 1)
            _write(Path(args.out), "retraining.json", report)
            logger.info("seed %d done after %.0f s", seed, report["seconds"])
    shown = {k: v for k, v in report.items() if k not in ("fits", "recipes")}
    logger.info("%s", json.dumps(shown, indent=1))
    return 0


def _write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content, indent=1) + "\n")


def _keep_models(folder: Path, out: Path) -> None:
    """Write the checkpoints of each role that is there into an archive of its own."""
    for role in (*SHARES, "student", "untaught"):
        with tarfile.open(out / f"{folder.name}-{role}.tar", "w") as archive:
            for path in sorted((folder / role).glob("*")):
                if not path.name.endswith("-start"):
                    archive.add(path, arcname=f"{role}/{path.name}")


def _answers(said: dict[tuple[int, str], list[Detections]]) -> dict[str, Any]:
    return {
        f"{role}-{seed}": [_to_json(one) for one in rows] for (seed, role), rows in said.items()
    }


class _Show:
    """Everything that a seed's run needs: the data, the processes, the time that is left."""

    def __init__(
        self,
        args: argparse.Namespace,
        splits: dict[str, list[Example]],
        root: Path,
        pool: ProcessPoolExecutor,
        report: dict[str, Any],
        started: float,
    ) -> None:
        self._args, self._splits, self._root, self._pool = args, splits, root, pool
        self._report, self._started = report, started
        self._device = torch.device(args.device)
        self._ensembles: dict[tuple[int, str], Ensemble] = {}
        self._scale: float = args.scale

    def left(self) -> float:
        """Return the seconds that are left."""
        return float(self._args.within) - (time.perf_counter() - self._started)

    def ensembles_of(self, seed: int) -> dict[tuple[int, str], list[Detections]]:
        """Train the ensembles, and return what each says about the split `test`, by role."""
        began = time.perf_counter()
        self._run(self._members(seed, "champion"))
        if not seed:
            self._fit_into_the_time(time.perf_counter() - began)
        self._run([*self._members(seed, "challenger"), *self._members(seed, "control")])
        truths = [one.target for one in self._splits["test"]]
        answers: dict[tuple[int, str], list[Detections]] = {}
        for role in SHARES:
            one = _ensemble(self._root / str(seed) / role, self._splits["valid"], self._device)
            self._ensembles[seed, role] = one
            rows = _rows(one, self._splits["test"], self._device)
            answers[seed, role] = _fused(one, rows)
            for name in MEMBERS:
                value = _map50([row[name] for row in rows], truths)
                self._report["members"][f"{role}-{name}-{seed}"] = value
            on_valid = _objects(one, self._splits["valid"], self._device)
            value = _map50(on_valid, [example.target for example in self._splits["valid"]])
            self._report["valid"][f"{role}-{seed}"] = value
        return answers

    def students_of(self, seed: int) -> dict[tuple[int, str], list[Detections]]:
        """Train the students of the challenger, and return what the best of each role says."""
        labeled = _shares(len(self._splits["train"]), seed)["challenger"]
        folder = self._root / str(seed)
        taught = folder / "taught.json"
        _teach(self._ensembles[seed, "challenger"], self._splits, labeled, taught, self._device)
        lessons = {"student": str(taught), "untaught": None}
        self._run([
            self._job(f"{role}-{name}-{seed}", one, labeled, folder / role / name, seed,
                      taught=lesson)
            for name, one in STUDENTS.items()
            for role, lesson in lessons.items()
        ])  # fmt: skip
        return {(seed, role): self._student(seed, role) for role in lessons}

    def _members(self, seed: int, role: str) -> list[Job]:
        labeled = _shares(len(self._splits["train"]), seed)[role]
        folder = self._root / str(seed)
        before = None if role == "champion" else folder / "champion"
        return [
            self._job(f"{role}-{m}-{seed}", one, labeled, folder / role / m, seed,
                      source=None if before is None else str(before / m))
            for m, one in MEMBERS.items()
        ]  # fmt: skip

    def speeds(self, seed: int) -> dict[str, Any]:
        """Return images per second of a seed's ensemble and student."""
        folder = self._root / str(seed) / "student" / self._chosen(seed, "student")
        places = (self._args.device, "cpu") if self._args.on_cpu_too else (self._args.device,)
        ensemble = self._ensembles[seed, "challenger"]
        return _speeds(folder, ensemble, self._splits["test"], places)

    def _job(
        self, name: str, recipe: Recipe, labeled: tuple[int, ...], out: Path, seed: int,
        *, source: str | None = None, taught: str | None = None,
    ) -> Job:  # fmt: skip
        return Job(
            name=name, recipe=recipe, source=source, data=self._args.data, labeled=labeled,
            out=str(out), size=self._args.size, seed=seed, device=self._args.device,
            scale=self._scale, taught=taught,
        )  # fmt: skip

    def _run(self, jobs: Sequence[Job]) -> None:
        for job, done in zip(jobs, self._pool.map(_fit, jobs), strict=True):
            self._report["fits"][job.name] = done

    def _fit_into_the_time(self, seconds: float) -> None:
        """Shorten the fits to come where the champion's tell that the time will not do."""
        rounds = 4 * self._args.seeds - 1  # challenger and control share the device: two
        factor = (self.left() - OVERHEAD_S) / (rounds * seconds)
        self._scale *= min(1.0, max(0.1, factor))
        logger.info("champion: %.0f s; scale of the fits to come: %.2f", seconds, self._scale)

    def _student(self, seed: int, role: str) -> list[Detections]:
        name = self._chosen(seed, role)
        recipe = STUDENTS[name]
        model = registry.create(recipe.adapter, self._root / str(seed) / role / name)
        model.module.to(self._device)
        batches = _batches(self._splits["test"], self._device, size=16)
        return [found for batch in batches for found in predict(model, batch)]

    def _chosen(self, seed: int, role: str) -> str:
        """Return the student that was best on `valid`."""
        fits = self._report["fits"]
        best = {name: max(fits[f"{role}-{name}-{seed}"]["valid_map50"]) for name in STUDENTS}
        return max(best, key=best.__getitem__)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="the folder construction_site_safety")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--within", type=float, default=3600, help="seconds: trains for less")
    parser.add_argument("--size", type=int, default=416, help="of the view, a multiple of 32")
    parser.add_argument("--scale", type=float, default=1.0, help="of the epochs")
    parser.add_argument("--draws", type=int, default=400, help="of the bootstrap")
    parser.add_argument("--on-cpu-too", action="store_true", help="measure speeds there as well")
    parser.add_argument("--at-once", type=int, default=6, help="fits on the device")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def _log_to_stdout(who: str) -> None:
    line = f"%(asctime)s {who}: %(message)s"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=line, force=True)


# Data: what is learned from, chosen on, and judged by.


def _read_split(root: Path, split: str) -> list[Example]:
    """Return the images of a split; of `train` only those of no other split's photographs."""
    paths = sorted((root / "images" / split).glob("*.jpg"))
    if not paths:
        raise SystemExit(f"There are no images in {root / 'images' / split}.")
    if split == "train":
        held = {
            _photograph(p)
            for other in ("valid", "test")
            for p in (root / "images" / other).glob("*")
        }
        paths = [path for path in paths if _photograph(path) not in held]
    return [Example(path, _truth(root / "labels" / split / f"{path.stem}.txt")) for path in paths]


def _photograph(path: Path) -> str:
    return path.name.split(".rf.")[0]


def _drive(path: Path) -> str:
    """Return the photograph's name without its numbers: frames of one video share it."""
    return re.sub(r"\d+", "#", _photograph(path))


def _truth(labels: Path) -> Detections:
    """Return the boxes of a file of YOLO rows `class cx cy w h`."""
    rows = np.array([line.split() for line in labels.read_text().splitlines() if line.strip()])
    if not len(rows):
        return Detections.empty(CLASSES)
    numbers = rows[:, :5].astype(np.float64)
    centres, sides = numbers[:, 1:3], numbers[:, 3:5]
    corners = np.hstack([centres - sides / 2, centres + sides / 2]).clip(0, 1)
    return Detections(
        corners.astype(np.float32),
        np.ones(len(rows), np.float32),
        numbers[:, 0].astype(np.int64),
        CLASSES,
    )


def _shares(n: int, seed: int) -> dict[str, tuple[int, ...]]:
    """Return the labeled images of each role; those of the champion are among the challenger's."""
    order = np.random.default_rng(seed).permutation(n).tolist()
    return {role: tuple(order[: round(share * n)]) for role, share in SHARES.items()}


# Training.


def _fit(job: Job) -> dict[str, Any]:
    """Fit one model, and return what came of it."""
    _log_to_stdout(job.name)
    torch.set_num_threads(2)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    train, valid = _read_split(Path(job.data), "train"), _read_split(Path(job.data), "valid")
    labeled = [train[i] for i in job.labeled]
    model = _model(job)
    options: dict[str, Any] = {
        "out": Path(job.out), "seed": job.seed, "device": job.device, "batch_size": 32,
    }  # fmt: skip
    if job.taught:
        rest = [one.image for i, one in enumerate(train) if i not in set(job.labeled)]
        answers = json.loads(Path(job.taught).read_text())
        found = [_from_json(one) for one in answers["found"]]
        lesson = distill.lesson(labeled, rest, found, answers["thresholds"])
        epochs = (_epochs(job, len(train), len(lesson)), _epochs(job, len(train), len(labeled)))
        epochs = (max(1, epochs[0] // 2), max(1, epochs[1] // 2))
        results: Sequence[FitResult] = distill.teach(
            model, labeled, lesson, valid, epochs=epochs, patience=max(epochs),
            validate_every=max(1, min(epochs) // 8),
            learning_rates=(job.recipe.rate, job.recipe.again), **options,
        )  # fmt: skip
    else:
        count = _epochs(job, len(train), len(labeled))
        rate = job.recipe.again if job.source else job.recipe.rate
        results = (
            fit(model, labeled, valid, epochs=count, patience=count, learning_rate=rate,
                validate_every=max(1, count // 12), **options),
        )  # fmt: skip
    shown = [round(one, 3) for result in results for one in result.val_map50]
    seconds = sum(one.seconds for one in results)
    logger.info("%d images, %.0f s, valid %s", len(labeled), seconds, shown)
    return {
        "images": len(labeled),
        "epochs": [one.epochs for one in results],
        "best_epoch": [one.best_epoch for one in results],
        "valid_map50": shown,
        "seconds": round(seconds, 1),
        "fingerprint": sources.fingerprint(Path(job.out)),
    }


def _epochs(job: Job, whole: int, n: int) -> int:
    """Return the passes over n images that show as many as the recipe's over the whole split."""
    return max(1, round(job.recipe.epochs * job.scale * whole / n))


def _model(job: Job) -> Any:
    """Return the model that a job starts from, naming the data set's classes."""
    if job.source:
        model = registry.create(job.recipe.adapter, Path(job.source))
    elif job.recipe.start is None:
        params = {"classes": CLASSES, "size": job.size, "seed": job.seed, **job.recipe.params}
        model = registry.create(job.recipe.adapter, **params)
    else:
        config, tensors = checkpoint.load(WEIGHTS / job.recipe.start)
        resized = Path(f"{job.out}-start")
        checkpoint.save(resized, config | {"size": job.size}, tensors)
        model = registry.create(job.recipe.adapter, resized).with_classes(CLASSES)
    model.module.to(job.device)
    if job.recipe.adapter == "rt_detr":
        tiny_rtdetr_loss.set_loss(model.module)
    return model


def _teach(
    teacher: Ensemble,
    splits: dict[str, list[Example]],
    labeled: Sequence[int],
    path: Path,
    device: torch.device,
) -> None:
    """Write what the ensemble says about the images without labels, and how far it is believed."""
    rest = [one for i, one in enumerate(splits["train"]) if i not in set(labeled)]
    on_valid = _objects(teacher, splits["valid"], device)
    truths = [one.target for one in splits["valid"]]
    content = {
        "thresholds": distill.thresholds(on_valid, truths, CLASSES),
        "found": [_to_json(one) for one in _objects(teacher, rest, device)],
    }
    path.write_text(json.dumps(content))


def _to_json(found: Detections) -> list[list[float]]:
    rows = np.column_stack([found.boxes_xyxy, found.scores, found.class_ids])
    return rows.astype(float).tolist()


def _from_json(rows: list[list[float]]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), CLASSES)


# The ensemble.


def _ensemble(folder: Path, valid: Sequence[Example], device: torch.device) -> Ensemble:
    """Return the ensemble of the members in a folder, calibrated on the split `valid`."""
    parsed = manifest.Manifest.model_validate(
        {
            "name": "construction",
            "members": [
                {
                    "name": name, "tier": "detection", "adapter": one.adapter,
                    "source": str(folder / name), "licence": "AGPL-3.0",
                }
                for name, one in MEMBERS.items()
            ],
        }
    )  # fmt: skip
    classes = Taxonomy(
        name="construction",
        decision=Decision(name="site", question="Is this a construction site?"),
        classes=tuple(ObjectClass(name=one, decides=one in DECIDING) for one in CLASSES),
    )
    started = Ensemble.from_manifest(parsed, taxonomy=classes)
    rows = _rows(started, valid, device)
    truths = [one.target for one in valid]
    return voting.recalibrated(rows, started, truths, _sizes(len(valid)))


def _sizes(n: int) -> Any:
    return np.full((n, 2), 640, np.int64)  # as the data set has them


def _rows(ensemble: Ensemble, examples: Sequence[Example], device: torch.device) -> list[Any]:
    models = {name: ensemble.build(name, device) for name in ensemble.detectors}
    return [row for batch in _batches(examples, device, size=16) for row in _said(models, batch)]


def _batches(examples: Sequence[Example], device: torch.device, *, size: int) -> list[Batch]:
    paths = [str(one.image) for one in examples]
    return [
        batch
        for batch, _ in images.batches(paths, paths, batch_size=size, device=device, workers=8)
    ]


def _said(models: dict[str, Any], batch: Batch) -> list[dict[str, Detections]]:
    each = {name: predict(model, batch) for name, model in models.items()}
    return [{name: each[name][i] for name in each} for i in range(len(batch))]


def _fused(ensemble: Ensemble, rows: Sequence[Any]) -> list[Detections]:
    clusters, _ = voting.conclude(voting.gather(rows, ensemble), ensemble, _sizes(len(rows)))
    return voting.objects(clusters)


def _said_together(ensemble: Ensemble, models: dict[str, Any], batch: Batch) -> list[Detections]:
    return _fused(ensemble, _said(models, batch))


def _objects(
    ensemble: Ensemble, examples: Sequence[Example], device: torch.device
) -> list[Detections]:
    return _fused(ensemble, _rows(ensemble, examples, device))


# Figures.


def _figures(
    said: dict[tuple[int, str], list[Detections]],
    test: Sequence[Example],
    *,
    draws: int,
) -> dict[str, Any]:
    """Return mAP50 of everything on the split `test`, and intervals of differences and ratios."""
    truths = [one.target for one in test]
    figures: dict[str, Any] = {
        "map50": {f"{role}-{seed}": _map50(one, truths) for (seed, role), one in said.items()}
    }
    units = {
        "image": [str(one.image) for one in test],
        "drive": [_drive(Path(str(one.image))) for one in test],
    }
    seeds = sorted({seed for seed, _ in said})
    with ProcessPoolExecutor(os.cpu_count(), mp_context=mp.get_context("spawn")) as pool:
        for unit, groups in units.items():
            parts = np.array_split(_drawn(groups, draws), min(48, draws))
            drawn = list(pool.map(_map50_of_draws, [(said, truths, one) for one in parts]))
            table = dict(zip(said, np.concatenate(drawn).T, strict=True))
            n = len(set(groups))
            figures[f"intervals by {unit}"] = {"n": n, **_intervals(table, seeds)}
    return figures


def _intervals(table: dict[tuple[int, str], Any], seeds: list[int]) -> dict[str, Any]:
    """Return the middle 95 % of differences and ratios of mAP50: each seed's, and of their mean."""

    def differ(of: Callable[[str], Any], one: str, other: str) -> Any:
        return of(one) - of(other)

    def keep(of: Callable[[str], Any], one: str, other: str) -> Any:
        return of(one) / np.maximum(of(other), 1e-9)

    questions: dict[str, tuple[Callable[..., Any], str, str]] = {
        "challenger - champion": (differ, "challenger", "champion"),
        "challenger - control": (differ, "challenger", "control"),
        "student / challenger": (keep, "student", "challenger"),
        "student - untaught": (differ, "student", "untaught"),
    }
    answers: dict[str, Any] = {}
    for name, (compare, one, other) in questions.items():
        each = {str(s): compare(lambda role, s=s: table[s, role], one, other) for s in seeds}
        each["mean"] = compare(
            lambda role: np.mean([table[s, role] for s in seeds], axis=0), one, other
        )
        answers[name] = {which: _middle(values) for which, values in each.items()}
    return answers


def _middle(values: Any) -> list[float]:
    return [round(float(one), 4) for one in np.quantile(values, [ALPHA / 2, 0.5, 1 - ALPHA / 2])]


def _map50(found: Sequence[Detections], truths: Sequence[Detections]) -> float:
    return round(average_precision(found, truths, CLASSES).map50 or 0.0, 4)


def _drawn(groups: Sequence[str], draws: int) -> Any:
    """Return how often each image is in each draw of groups, shape (draws, n)."""
    numbers = {one: i for i, one in enumerate(dict.fromkeys(groups))}
    weights = grouped_bootstrap(len(numbers), draws=draws, seed=0)
    return weights[:, [numbers[one] for one in groups]]


def _map50_of_draws(task: tuple[Any, list[Detections], Any]) -> Any:
    said, truths, weights = task
    table = []
    for times in weights:
        rows = np.repeat(np.arange(len(truths)), times)
        drawn = [truths[i] for i in rows]
        table.append([
            average_precision([one[i] for i in rows], drawn, CLASSES).map50
            for one in said.values()
        ])  # fmt: skip
    return np.array(table, np.float64)


def _speeds(
    folder: Path, ensemble: Ensemble, test: Sequence[Example], places: Sequence[str]
) -> dict[str, Any]:
    """Return images per second of ensemble and student, from decoded images to boxes."""
    figures: dict[str, Any] = {}
    for name in dict.fromkeys(places):
        device = torch.device(name)
        models = {one: ensemble.build(one, device) for one in ensemble.detectors}
        student = registry.create("center_point", folder)
        student.module.to(device)
        calls: dict[str, Callable[[Batch], Any]] = {
            "ensemble": partial(_said_together, ensemble, models),
            "members alone": partial(_said, models),
            "student": partial(predict, student),
        }
        for size in (1, 16):
            rate = {who: _rate(call, test, device, size) for who, call in calls.items()}
            rate["times"] = rate["student"] / rate["ensemble"]
            rate["times the members alone"] = rate["student"] / rate["members alone"]
            figures[f"{name}, {size} at a time"] = {k: round(v, 2) for k, v in rate.items()}
    return figures


def _rate(
    call: Callable[[Batch], Any], test: Sequence[Example], device: torch.device, size: int
) -> float:
    """Return images per second: the median of passes, after one to warm up."""
    passes = []
    for number in range(4):
        batches = _batches(test[:64], device, size=size)
        for batch in batches:
            batch.pixels()  # on the device already, for both
        _wait(device)
        began = time.perf_counter()
        for batch in batches:
            call(batch)
        _wait(device)
        if number:
            passes.append(sum(map(len, batches)) / (time.perf_counter() - began))
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
