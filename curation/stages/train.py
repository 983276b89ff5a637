"""Fine-tune every detector on the labeled pool, from the checkpoint that it had."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cascade import sources, voting
from cascade.ensemble import Ensemble
from cascade.run import Memory, Progress, default_device, run
from cascade.training.fit import Example, FitResult, fit
from curation import fields, store
from curation import samples as query
from curation.errors import StageError

logger = logging.getLogger(__name__)

LEAST_EXAMPLES = 8  # labeled training images, below which a fit would only memorise
KNOWN_RATE = 1e-3  # learning rate where the member knew every class: its knowledge should last
NEW_RATE = 3e-3  # where it has classes to learn from nothing (measured on construction sites)


@dataclass(frozen=True)
class TrainResult:
    """What a call did.

    Attributes:
        ensemble: The challenger: new weights, and a calibration refitted on validation.
        examples: Labeled training images.
        members: What each fit did, by member.
    """

    ensemble: Ensemble
    examples: int
    members: Mapping[str, Any]


def train(
    dataset: Any,
    start: Ensemble,
    folder: Path,
    *,
    epochs: int,
    seed: int = 0,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Fit each detector on all labeled training samples and save the challenger.

    A member whose fit was finished before a crash is not fitted again; one that was cut off
    starts again from its seed.

    Args:
        dataset: The FiftyOne dataset.
        start: The ensemble to begin from.
        folder: Of the round; `members/` and `ensemble/` are written into it.
        epochs: Passes over the examples, at most; validation stops a fit earlier.
        seed: Of the order, the augmentation and new heads.
        device: Where; the first GPU, else the CPU.
        progress: Told after every epoch of every member.

    Raises:
        StageError: Too few samples are labeled.
    """
    device = device or default_device()
    examples = _examples(dataset, "train", start)
    if len(examples) < LEAST_EXAMPLES:
        raise StageError(
            f"{len(examples)} training samples are labeled; a fit needs at least "
            f"{LEAST_EXAMPLES}. Label more of the chosen samples, then run the round again."
        )
    validation = _examples(dataset, "val", start)
    members: dict[str, Any] = {}
    total = epochs * len(start.trainable)
    for number, name in enumerate(start.trainable):
        done_before = number * epochs
        members[name] = _fit_member(
            name, start, examples, validation, folder / "members" / name,
            epochs=epochs, seed=seed, device=device,
            progress=progress and (lambda done, _, b=done_before: progress(b + done, total)),
        )  # fmt: skip
    checkpoints = {name: folder / "members" / name for name in start.trainable}
    trained = _recalibrated(dataset, start.with_checkpoints(checkpoints), device)
    trained.save(folder / "ensemble")
    return TrainResult(
        ensemble=Ensemble.load(folder / "ensemble"), examples=len(examples), members=members
    )


def _fit_member(
    name: str,
    start: Ensemble,
    examples: list[Example],
    validation: list[Example],
    out: Path,
    *,
    epochs: int,
    seed: int,
    device: torch.device,
    progress: Progress | None,
) -> dict[str, Any]:
    report = out.with_suffix(".json")
    if report.is_file() and out.is_dir():
        done: dict[str, Any] = json.loads(report.read_text())
        return done
    model = start.build(name, device)
    knows_all = start.taxonomy.vocabulary(model.classes) == start.taxonomy.names
    model = model.with_classes(start.taxonomy.names, meaning=start.taxonomy.canonical)
    model.module.to(device)
    result: FitResult = fit(
        model, examples, validation,
        epochs=epochs, seed=seed, device=device, out=out, progress=progress,
        learning_rate=KNOWN_RATE if knows_all else NEW_RATE,
    )  # fmt: skip
    summary = {
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "train_loss": [round(one, 4) for one in result.train_loss],
        "val_map50": [None if one is None else round(one, 4) for one in result.val_map50],
        "seconds": round(result.seconds, 2),
        "checkpoint": sources.fingerprint(out),
    }
    temporary = report.with_suffix(".tmp")
    temporary.write_text(json.dumps(summary))
    temporary.replace(report)
    return summary


def _recalibrated(dataset: Any, ensemble: Ensemble, device: torch.device) -> Ensemble:
    frozen = query.frozen_set(dataset, "val", ensemble.taxonomy)
    if not frozen.can_calibrate:
        return ensemble
    memory = Memory()
    models = {name: ensemble.build(name, device) for name in ensemble.detectors}
    members = {name: ensemble.manifest.member(name) for name in models}
    run(models, members, frozen.ids, frozen.paths, memory, device=device)
    rows = [memory.results[one] for one in frozen.ids]
    return voting.recalibrated(rows, ensemble, frozen.truths, frozen.sizes_px)


def _examples(dataset: Any, split: str, ensemble: Ensemble) -> list[Example]:
    view = query.labeled(dataset, split)
    _, paths = store.ids_and_paths(view)
    targets = store.read_detections(view, fields.GROUND_TRUTH, ensemble.taxonomy)
    return [Example(Path(path), target) for path, target in zip(paths, targets, strict=True)]
