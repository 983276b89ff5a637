"""Fine-tune every detector on the labeled pool, starting from its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascade.checkpoints import sources
from cascade.ensemble import Ensemble
from cascade.errors import TrainingError
from cascade.fusion.probe import Probe
from cascade.inference import decision
from cascade.predictions import Embedding
from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress, subtask
from cascade.training.examples import Example
from cascade.training.fit import fit
from cascade.training.fit_key import identity_of
from cascade.training.fit_process import FitJob, launch
from cascade.training.probe_fit import fit_probe
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.active_learning.training import examples
from curation.active_learning.training.cached_result import cached_result
from curation.active_learning.training.focus import focus_examples
from curation.inference import prediction
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset

logger = logging.getLogger(__name__)

BATCH_SIZE = {"cpu": 4, "cuda": 16}


@dataclass(frozen=True)
class Rates:
    """Peak learning rates for the models of an adapter.

    Attributes:
        pretrained: Rate for a member that knows every class.
        new: Rate for a member with new classes.
    """

    pretrained: float
    new: float


SMALL = Rates(pretrained=1e-3, new=3e-3)  # measured on construction sites
RATES = {  # full-size members, pretrained on hundreds of thousands of images
    "detr": Rates(pretrained=5e-5, new=1e-4),
    "ultralytics": Rates(pretrained=2e-4, new=1e-3),
}


@dataclass(frozen=True)
class TrainResult:
    """Outcome of a call of `train`.

    Attributes:
        ensemble: The challenger: new weights, and a calibration refitted on validation.
        examples: Labeled training images.
        members: Report of each member's fit.
    """

    ensemble: Ensemble
    examples: int
    members: Mapping[str, Any]


def train(
    dataset: Dataset,
    start: Ensemble,
    folder: Path,
    *,
    epochs: int,
    seed: int = 0,
    focus: bool = False,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Fit each detector on all labeled training samples, and save the challenger.

    Resumable: a finished fit is reused unless its options or labels have changed, and an
    interrupted one continues after its last complete epoch. Several GPUs train together, one
    process each. Unreadable images are left out and listed in the member's report.

    Args:
        dataset: A FiftyOne dataset.
        start: The ensemble to start from.
        folder: Folder of the round; receives `members/` and `ensemble/`.
        epochs: Passes over the examples, at most; validation may stop a fit earlier.
        seed: Random seed for order, augmentation and new heads.
        focus: Whether to oversample what `start` fails at on validation (by class, size and time
            of day), and windows around its false objects in training images.
        device: Device of the fits; None for the first GPU, else the CPU.
        progress: Callback after every epoch of every member.

    Raises:
        StageError: Too few samples are labeled.
    """
    device = device or default_device()
    labeled = shown = examples.training_examples(dataset, start.taxonomy)
    validation = examples.split_examples(dataset, "val", start.taxonomy)
    weights: Sequence[float] | None = None
    if focus:
        shown, weights = focus_examples(dataset, start, labeled, device)
    members: dict[str, Any] = {}
    total = epochs * len(start.trainable)
    for number, name in enumerate(start.trainable):
        out = folder / "members" / name
        inputs = (shown, validation, epochs, seed, weights, start.fingerprint(name))
        fit_member = partial(
            _fit_member, name, start, shown, validation, out,
            epochs=epochs, seed=seed, weights=weights, device=device,
            progress=subtask(progress, number * epochs, total),
        )  # fmt: skip
        report = out.with_suffix(".json")
        members[name], _ = cached_result(report, identity_of(inputs, {}), fit_member, outputs=[out])
    checkpoints = {name: folder / "members" / name for name in start.trainable}
    probe = _fit_probe(dataset, start, labeled, device, seed)
    trained = start.with_checkpoints(checkpoints).with_probe(probe)
    trained = _recalibrate(dataset, trained, device)
    trained.save(folder / "ensemble")
    return TrainResult(
        ensemble=Ensemble.load(folder / "ensemble"), examples=len(labeled), members=members
    )


def _fit_member(
    name: str,
    start: Ensemble,
    shown: list[Example],
    validation: list[Example],
    out: Path,
    *,
    epochs: int,
    seed: int,
    weights: Sequence[float] | None,
    device: torch.device,
    progress: Progress | None,
) -> dict[str, Any]:
    member = start.manifest.member(name)
    rates = RATES.get(member.adapter, SMALL)
    knows_all = start.vocabulary(name) == start.taxonomy.names
    options: dict[str, Any] = {
        "epochs": epochs,
        "seed": seed,
        "learning_rate": rates.pretrained if knows_all else rates.new,
        "batch_size": BATCH_SIZE.get(device.type, BATCH_SIZE["cpu"]),
        "weights": weights,
        "state_file": out.with_suffix(".standing.safetensors"),
    }
    gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    if gpus > 1:
        job = FitJob(
            adapter=member.adapter, checkpoint=start.checkpoints[name], params=member.params,
            classes=start.taxonomy.names, meaning=_class_names(start, name),
            train=shown, val=validation, out=out, options=options,
        )  # fmt: skip
        result = launch(job, out.with_suffix(".job.json"), processes=gpus, progress=progress)
    else:
        model = start.build(name, device)
        model = model.with_classes(start.taxonomy.names, meaning=start.taxonomy.canonical)
        result = fit(model, shown, validation, out=out, device=device, progress=progress, **options)
    return {
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "train_loss": [round(loss, 4) for loss in result.train_loss],
        "val_map50": [None if value is None else round(value, 4) for value in result.val_map50],
        "seconds": round(result.seconds, 2),
        "checkpoint": sources.fingerprint(out),
        "resumed_from": result.resumed_from,
        "unreadable": list(result.unreadable),
    }


def _class_names(ensemble: Ensemble, name: str) -> dict[str, str]:
    """Return the class that each of a member's own labels stands for."""
    model = ensemble.build(name, torch.device("cpu"))
    classes = {label: ensemble.taxonomy.canonical(label) for label in model.classes}
    return {label: canonical for label, canonical in classes.items() if canonical is not None}


def _recalibrate(dataset: Dataset, ensemble: Ensemble, device: torch.device) -> Ensemble:
    frozen = frozen_set(dataset, "val", ensemble.taxonomy)
    if not frozen.can_calibrate:
        return ensemble
    rows = prediction.predict_rows(ensemble, ensemble.voters, frozen.ids, frozen.paths, device)
    calibrated = decision.recalibrate(rows, ensemble, frozen.truths, frozen.sizes_px)
    votes = decision.collect_votes(rows, calibrated)
    _, decisions = decision.fuse_and_decide(votes, calibrated, frozen.sizes_px)
    probe_votes = decision.probe_votes(rows, calibrated)
    truth = frozen.decisions(ensemble.taxonomy)
    return decision.calibrate_image_votes(calibrated, decisions, probe_votes, truth)


def _fit_probe(
    dataset: Dataset, start: Ensemble, labeled: Sequence[Example], device: torch.device, seed: int
) -> Probe | None:
    """Return a probe fitted on the labeled training images; that of `start` if they are too few."""
    for name in start.available("embedding")[:1]:
        view = queries.labeled(dataset, "train")
        ids, paths = collection.ids_and_paths(view)
        rows = prediction.predict_rows(start, [name], ids, paths, device)
        vectors = {
            i: embedding.vector
            for i, row in enumerate(rows)
            if isinstance(embedding := row.get(name), Embedding)
        }
        truth = decision.true_decisions([example.target for example in labeled], start.taxonomy)
        drives = reader.read_columns(view, [schema.DRIVE])[schema.DRIVE]
        try:
            return fit_probe(
                np.array(list(vectors.values())),
                truth[list(vectors)],
                [drives[i] or ids[i] for i in vectors],
                embedder=start.fingerprint(name),
                seed=seed,
            )
        except TrainingError as error:
            logger.info("%s", error)
    return start.probe
