"""Fine-tune every detector on the labeled pool, from the checkpoint that it had."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cascade.checkpoints import sources
from cascade.engine.run import Progress, default_device
from cascade.ensemble import Ensemble
from cascade.errors import TrainingError
from cascade.inference import decision
from cascade.predictions import Detections, Embedding
from cascade.training import hard_negatives, sample_weights
from cascade.training.fit import Example, fit
from cascade.training.fit_key import identity_of
from cascade.training.fit_process import Job, launch
from cascade.training.probe_fit import Probe, fit_probe
from curation.active_learning.evaluation import slices
from curation.active_learning.evaluation.frozen_set import frozen_set
from curation.active_learning.training import examples
from curation.active_learning.training.cached_result import once
from curation.inference import prediction
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

logger = logging.getLogger(__name__)

BATCH_SIZE = {"cpu": 4, "cuda": 16}


@dataclass(frozen=True)
class Rates:
    """The highest learning rates of an adapter's models.

    Attributes:
        known: Where a member knew every class: its knowledge should last.
        new: Where it has classes to learn from nothing.
    """

    known: float
    new: float


SMALL = Rates(known=1e-3, new=3e-3)  # measured on construction sites
RATES = {  # of full-size members, pretrained on hundreds of thousands of images
    "detr": Rates(known=5e-5, new=1e-4),
    "ultralytics": Rates(known=2e-4, new=1e-3),
}


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
    """Fit each detector on all labeled training samples and save the challenger.

    A member whose fit was finished before a crash is not fitted again, unless what was asked or
    labeled has changed since; one that was cut off goes on after its last whole epoch. Several
    GPUs work together, one process each. An image that cannot be read is left out, and on record
    with the member.

    Args:
        dataset: The FiftyOne dataset.
        start: The ensemble to begin from.
        folder: Of the round; `members/` and `ensemble/` are written into it.
        epochs: Passes over the examples, at most; validation stops a fit earlier.
        seed: Of the order, the augmentation and new heads.
        focus: Whether to show more often what the start fails at on validation (by class, size
            and time of day), and windows around what it takes for an object in training images.
        device: Where; the first GPU, else the CPU.
        progress: Told after every epoch of every member.

    Raises:
        StageError: Too few samples are labeled.
    """
    device = device or default_device()
    labeled = shown = examples.to_train_on(dataset, start.taxonomy)
    validation = examples.of_split(dataset, "val", start.taxonomy)
    weights: Sequence[float] | None = None
    if focus:
        shown, weights = _focused(dataset, start, labeled, device)
    members: dict[str, Any] = {}
    total = epochs * len(start.trainable)
    for number, name in enumerate(start.trainable):
        done_before, out = number * epochs, folder / "members" / name
        asked = (shown, validation, epochs, seed, weights, start.fingerprint(name))
        fitted = partial(
            _fit_member, name, start, shown, validation, out,
            epochs=epochs, seed=seed, weights=weights, device=device,
            progress=progress and (lambda done, _, b=done_before: progress(b + done, total)),
        )  # fmt: skip
        report = out.with_suffix(".json")
        members[name], _ = once(report, identity_of(asked, {}), fitted, needs=[out])
    checkpoints = {name: folder / "members" / name for name in start.trainable}
    probe = _probe(dataset, start, labeled, device, seed=seed)
    trained = _recalibrated(dataset, start.with_checkpoints(checkpoints).with_probe(probe), device)
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
        "learning_rate": rates.known if knows_all else rates.new,
        "batch_size": BATCH_SIZE.get(device.type, BATCH_SIZE["cpu"]),
        "weights": weights,
        "goes_on": out.with_suffix(".standing.safetensors"),
    }
    gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    if gpus > 1:
        words = _words(start, name)
        job = Job(
            adapter=member.adapter, checkpoint=start.checkpoints[name], params=member.params,
            classes=start.taxonomy.names, meaning=words, train=shown, val=validation, out=out,
            options=options,
        )  # fmt: skip
        result = launch(job, out.with_suffix(".job.json"), processes=gpus, progress=progress)
    else:
        model = start.build(name, device)
        model = model.with_classes(start.taxonomy.names, meaning=start.taxonomy.canonical)
        result = fit(model, shown, validation, out=out, device=device, progress=progress, **options)
    return {
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "train_loss": [round(one, 4) for one in result.train_loss],
        "val_map50": [None if one is None else round(one, 4) for one in result.val_map50],
        "seconds": round(result.seconds, 2),
        "checkpoint": sources.fingerprint(out),
        "resumed_from": result.resumed_from,
        "unreadable": list(result.unreadable),
    }


def _words(ensemble: Ensemble, name: str) -> dict[str, str]:
    """Return which class each of a member's own words stands for."""
    model = ensemble.build(name, torch.device("cpu"))
    meanings = {word: ensemble.taxonomy.canonical(word) for word in model.classes}
    return {word: one for word, one in meanings.items() if one is not None}


def _focused(
    dataset: Dataset, start: Ensemble, labeled: list[Example], device: torch.device
) -> tuple[list[Example], Sequence[float]]:
    """Return the examples with windows around look-alikes, and how often to show each."""
    frozen = frozen_set(dataset, "val", start.taxonomy)
    said = prediction.objects(start, frozen.ids, frozen.paths, frozen.sizes_px, device).found
    least = float(start.calibration.threshold)
    view = queries.labeled(dataset, "train")
    mine, theirs = _slices(view, [one.target for one in labeled]), dict(frozen.slices)
    shared = [name for name in mine if name in theirs]
    weights = sample_weights.image_weights(
        [one.target for one in labeled],
        sample_weights.of_classes(said, frozen.truths, least=least),
        slices=[[name for name in shared if mine[name][i]] for i in range(len(labeled))],
        of_slice=sample_weights.of_slices(
            said, frozen.truths, {name: theirs[name] for name in shared}, least=least
        ),
    )
    ids, paths = collection.ids_and_paths(view)
    found = prediction.objects(start, ids, paths, reader.sizes_px(view), device).found
    mined = hard_negatives.look_alikes(found, [one.target for one in labeled])
    windows = hard_negatives.examples(labeled, mined)
    logger.info("%d windows around %d look-alikes", len(windows), len(mined))
    return [*labeled, *windows], [*weights.tolist(), *[1.0] * len(windows)]


def _slices(view: DatasetView, truths: Sequence[Detections]) -> dict[str, NDArray[np.bool_]]:
    """Return the slices by size and time of day, however few images are in them."""
    tallest = np.array(
        [(one.boxes_xyxy[:, 3] - one.boxes_xyxy[:, 1]).max(initial=-np.inf) for one in truths]
    )
    tallest[np.isneginf(tallest)] = np.nan
    luma = queries.numbers(reader.read_columns(view, [schema.LUMA])[schema.LUMA])
    return slices.build({}, tallest=tallest, mean_luma=luma, least=1)


def _recalibrated(dataset: Dataset, ensemble: Ensemble, device: torch.device) -> Ensemble:
    frozen = frozen_set(dataset, "val", ensemble.taxonomy)
    if not frozen.can_calibrate:
        return ensemble
    rows = prediction.rows(ensemble, ensemble.voters, frozen.ids, frozen.paths, device)
    fitted = decision.recalibrated(rows, ensemble, frozen.truths, frozen.sizes_px)
    _, decisions = decision.conclude(decision.gather(rows, fitted), fitted, frozen.sizes_px)
    truth = frozen.decisions(ensemble.taxonomy)
    return decision.with_answers(fitted, decisions, decision.probed(rows, fitted), truth)


def _probe(
    dataset: Dataset,
    start: Ensemble,
    labeled: Sequence[Example],
    device: torch.device,
    *,
    seed: int,
) -> Probe | None:
    """Return the probe of the labeled training images; that of the start with too few of them."""
    for name in start.present("embedding")[:1]:
        view = queries.labeled(dataset, "train")
        ids, paths = collection.ids_and_paths(view)
        said = [row.get(name) for row in prediction.rows(start, [name], ids, paths, device)]
        known = [i for i, one in enumerate(said) if isinstance(one, Embedding)]
        truth = decision.decisions_of([one.target for one in labeled], start.taxonomy)
        drives = reader.read_columns(view, [schema.DRIVE])[schema.DRIVE]
        groups = [drive or one for one, drive in zip(ids, drives, strict=True)]
        try:
            return fit_probe(
                np.array([one.vector for one in said if isinstance(one, Embedding)]),
                truth[known],
                [groups[i] for i in known],
                embedder=start.fingerprint(name),
                seed=seed,
            )
        except TrainingError as error:
            logger.info("%s", error)
    return start.probe
