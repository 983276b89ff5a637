"""How each model of `show_retraining.py` is trained: one fit, in a process of its own."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiny_rtdetr_loss
import torch
from retraining_data import CLASSES, from_rows, read_split

from cascade import registry
from cascade.checkpoints import checkpoint, sources
from cascade.training import distillation
from cascade.training.fit import FitResult, fit

logger = logging.getLogger("show")

WEIGHTS = Path(__file__).resolve().parents[1] / "cascade" / "weights"
VARIANTS = 24  # of each image
VALIDATIONS = 10  # of a fit


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    Attributes:
        adapter: What builds it.
        start: The folder of packaged weights that it starts from; None for new ones.
        rate: The highest learning rate where its classes are new to it.
        again: The same where it goes on from a checkpoint of these classes.
        passes: Over all of the training split's images, however few are labeled.
        batch_size: Images of a step.
        params: Of the adapter, where it starts from new weights.
    """

    adapter: str
    start: str | None
    rate: float
    again: float
    passes: int
    batch_size: int = 32
    params: dict[str, Any] = field(default_factory=dict)


MEMBERS = {
    "rt_detr": Recipe("tuned_trunk", "tiny_rtdetr", rate=8e-4, again=6e-4, passes=32),
    "yolo": Recipe("yolo", "tiny_yolo", rate=2e-3, again=1.4e-3, passes=32),
}
STUDENT = Recipe(
    "tuned_trunk", None, rate=1.5e-3, again=1e-3, passes=64, batch_size=16,
    params={"head": "center_point", "width": 128},
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One fit, for a process of its own.

    Attributes:
        name: For the log.
        recipe: How.
        source: The checkpoint to go on from; None for the recipe's own start.
        data: The folder of the data set.
        labeled: Numbers of training images whose labels are learned.
        out: Where the checkpoint goes.
        size: Of the view.
        seed: Of the fit.
        device: Where.
        scale: Of the passes, for a quick try.
        taught: A JSON file with the ensemble's answers on the other images; None for none.
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


def fit_one(job: Job) -> dict[str, Any]:
    """Fit one model, and return what came of it."""
    log_to_stdout(job.name)
    torch.set_num_threads(2)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    train, valid = read_split(Path(job.data), "train"), read_split(Path(job.data), "valid")
    labeled = [train[i] for i in job.labeled]
    options: dict[str, Any] = {
        "out": Path(job.out), "seed": job.seed, "device": job.device, "variants": VARIANTS,
        "batch_size": job.recipe.batch_size,
    }  # fmt: skip
    whole = job.recipe.passes * job.scale * len(train)  # images that are shown, in all
    results: Sequence[FitResult]
    if job.taught:
        rest = [one.image for i, one in enumerate(train) if i not in set(job.labeled)]
        answers = json.loads(Path(job.taught).read_text())
        found = [from_rows(one) for one in answers["found"]]
        lesson = distillation.student_examples(labeled, rest, found, answers["thresholds"])
        epochs = (_epochs(whole / 2, len(labeled)), _epochs(whole / 2, len(lesson)))
        results = distillation.distill(
            _model(job), labeled, lesson, valid, epochs=epochs, patience=max(epochs),
            validate_every=max(1, 2 * min(epochs) // VALIDATIONS),
            learning_rates=(job.recipe.rate, job.recipe.again), **options,
        )  # fmt: skip
    else:
        count = _epochs(whole, len(labeled))
        rate = job.recipe.again if job.source else job.recipe.rate
        results = (
            fit(_model(job), labeled, valid, epochs=count, patience=count, learning_rate=rate,
                validate_every=max(1, count // VALIDATIONS), **options),
        )  # fmt: skip
    shown = [round(one, 3) for result in results for one in result.val_map50]
    seconds = sum(one.seconds for one in results)
    logger.info("%d images, %.0f s, valid %s", len(labeled), seconds, shown)
    return {
        "images": len(labeled),
        "epochs": [one.epochs for one in results],
        "best_epoch": [one.best_epoch for one in results],
        "train_loss": [round(loss, 3) for one in results for loss in one.train_loss],
        "valid_map50": shown,
        "seconds": round(seconds, 1),
        "fingerprint": sources.fingerprint(Path(job.out)),
    }


def log_to_stdout(who: str) -> None:
    """Say who says it."""
    line = f"%(asctime)s {who}: %(message)s"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=line, force=True)


def _epochs(shown: float, n: int) -> int:
    return max(1, round(shown / n))


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
    if job.recipe.start == "tiny_rtdetr":
        tiny_rtdetr_loss.set_loss(model.module.head)
    return model
