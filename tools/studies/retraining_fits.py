"""Fits of the retraining study, each in a separate process."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pretraining"))

import tiny_rtdetr_loss
import torch
from retraining_data import CLASSES, from_rows, read_split

from cascade import registry
from cascade.checkpoints import checkpoint, sources
from cascade.training import distillation
from cascade.training.fit import FitResult, fit

logger = logging.getLogger("show")

WEIGHTS = Path(__file__).resolve().parents[2] / "cascade" / "weights"
VARIANTS = 24  # augmented variants per image
VALIDATIONS = 10  # per fit


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one model.

    Attributes:
        adapter: Name of the adapter.
        start: Folder of packaged weights to start from; None for new weights.
        rate: Maximum learning rate for new classes.
        again: Maximum learning rate when continuing from a checkpoint with these classes.
        passes: Number of passes over the whole training split, regardless of labels.
        batch_size: Images per step.
        params: Parameters of the adapter for new weights.
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
    """Arguments of one fit.

    Attributes:
        name: Name in the log.
        recipe: Hyperparameters.
        source: Checkpoint to continue from; None for the recipe's start.
        data: Folder of the dataset.
        labeled: Indices of the labeled training images.
        out: Folder for the checkpoint.
        size: Input size in pixels.
        seed: Random seed.
        device: Device of the fit.
        scale: Factor of the number of passes.
        pseudo_labels: JSON file with the ensemble's predictions on the other images, if any.
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
    pseudo_labels: str | None = None


def fit_one(job: Job) -> dict[str, Any]:
    """Fit one model, and return its figures."""
    log_to_stdout(job.name)
    torch.set_num_threads(2)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    train, valid = read_split(Path(job.data), "train"), read_split(Path(job.data), "valid")
    labeled = [train[i] for i in job.labeled]
    options: dict[str, Any] = {
        "out": Path(job.out), "seed": job.seed, "device": job.device, "variants": VARIANTS,
        "batch_size": job.recipe.batch_size,
    }  # fmt: skip
    n_images = job.recipe.passes * job.scale * len(train)  # processed in total
    results: Sequence[FitResult]
    if job.pseudo_labels:
        unlabeled = [x.image for i, x in enumerate(train) if i not in set(job.labeled)]
        content = json.loads(Path(job.pseudo_labels).read_text())
        predictions = [from_rows(boxes) for boxes in content["found"]]
        lesson = distillation.student_examples(
            labeled, unlabeled, predictions, content["thresholds"]
        )
        epochs = (_epochs(n_images / 2, len(labeled)), _epochs(n_images / 2, len(lesson)))
        results = distillation.distill(
            _model(job), labeled, lesson, valid, epochs=epochs, patience=max(epochs),
            validate_every=max(1, 2 * min(epochs) // VALIDATIONS),
            learning_rates=(job.recipe.rate, job.recipe.again), **options,
        )  # fmt: skip
    else:
        count = _epochs(n_images, len(labeled))
        rate = job.recipe.again if job.source else job.recipe.rate
        results = (
            fit(_model(job), labeled, valid, epochs=count, patience=count, learning_rate=rate,
                validate_every=max(1, count // VALIDATIONS), **options),
        )  # fmt: skip
    scores = [round(score, 3) for result in results for score in result.val_map50]
    seconds = sum(result.seconds for result in results)
    logger.info("%d images, %.0f s, valid %s", len(labeled), seconds, scores)
    return {
        "images": len(labeled),
        "epochs": [result.epochs for result in results],
        "best_epoch": [result.best_epoch for result in results],
        "train_loss": [round(loss, 3) for one in results for loss in one.train_loss],
        "valid_map50": scores,
        "seconds": round(seconds, 1),
        "fingerprint": sources.fingerprint(Path(job.out)),
    }


def log_to_stdout(name: str) -> None:
    """Log to standard output, with the name of the process."""
    line = f"%(asctime)s {name}: %(message)s"
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=line, force=True)


def _epochs(n_images: float, n: int) -> int:
    return max(1, round(n_images / n))


def _model(job: Job) -> Any:
    """Return the initial model of a job, with the classes of the dataset."""
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
