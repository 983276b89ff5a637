"""Distill an ensemble into one fast student, from labels and confident predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascade.checkpoints import sources
from cascade.ensemble import Ensemble
from cascade.runtime.devices import default_device
from cascade.runtime.progress import Progress, subtask
from cascade.training import distillation
from cascade.training.examples import Example
from cascade.training.fit_key import identity_of
from curation.active_learning.evaluation import student_report
from curation.active_learning.evaluation.frozen_set import FrozenSet, frozen_set
from curation.active_learning.evaluation.student_report import StudentReport
from curation.active_learning.training import examples, student
from curation.active_learning.training.cached_result import cached_result
from curation.active_learning.training.student import STUDENT, Recipe
from curation.errors import StageError
from curation.inference import prediction
from curation.inference.prediction import ObjectPredictions
from curation.storage import collection, queries, reader

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

_VALIDATIONS = 5  # per fit


@dataclass(frozen=True)
class DistillResult:
    """Outcome of a call of `distill`.

    Attributes:
        manifest: YAML file of the student alone, for `curate predict --manifest`.
        labeled: Labeled images that the student learned from.
        taught: Other images in the lesson, with confident predictions of the ensemble.
        lesson_kept: Whether the lesson improved validation (perhaps by more steps alone).
        licence: License of the student, derived from what it was made from.
        unreadable: Error messages of images that were left out.
        retention: Comparison with the ensemble; None if there is no labeled test split.
        changed: Whether this call did anything.
    """

    manifest: Path
    labeled: int
    taught: int
    lesson_kept: bool
    licence: str
    unreadable: tuple[str, ...]
    retention: StudentReport | None
    changed: bool

    @property
    def kept(self) -> StudentReport | None:
        """Deprecated name of `retention`."""
        return self.retention


def distill(
    dataset: Dataset,
    ensemble: Ensemble,
    folder: Path,
    *,
    epochs: int,
    seed: int = 0,
    recipe: Recipe = STUDENT,
    device: torch.device | None = None,
    bars: Callable[[str], Progress | None] = lambda part: None,
) -> DistillResult:
    """Train a student of an ensemble, and measure both on the frozen test split.

    The student learns the labeled training samples, then a lesson that adds the confident
    predictions of the ensemble on the rest of the pool and is used only if it improves
    validation. Resumable and idempotent. Nothing is registered or written to the dataset.

    Args:
        dataset: A FiftyOne dataset.
        ensemble: The teacher.
        folder: Output folder for `student/`, `student.yaml` and measurements; may be replaced.
        epochs: Passes over the labeled samples; the lesson then shows about as many images again.
        seed: Random seed for the student's new head, the order and the augmentation.
        recipe: Architecture and training options of the student.
        device: Device of all models; None for the first GPU, else the CPU.
        bars: Maker of the progress bar of each part: `ask`, `teach` and `measure`.

    Raises:
        StageError: The ensemble has no detector, or too few training samples or no validation
            boxes are labeled.
    """
    if not ensemble.detectors:
        raise StageError(
            f"The manifest {ensemble.manifest.name!r} has no detector that can run here. Use "
            "another one as teacher, such as `tiny`."
        )
    labeled = examples.training_examples(dataset, ensemble.taxonomy)
    val = frozen_set(dataset, "val", ensemble.taxonomy)
    if not any(map(len, val.truths)):
        raise StageError(
            f"Split 'val' of {dataset.name!r} has no labeled box. Ingest labeled images with it."
        )
    student_run = _StudentRun(
        ensemble, labeled, val, queries.pool(dataset), folder.absolute(), epochs, seed, recipe,
        device or default_device(), bars,
    )  # fmt: skip
    taught, is_taught = cached_result(
        student_run.folder / "taught.json", student_run.identity, student_run.teach,
        outputs=(student_run.manifest, student_run.checkpoint),
    )  # fmt: skip
    alone = Ensemble.from_manifest(student_run.manifest, taxonomy=ensemble.taxonomy)
    test = frozen_set(dataset, "test", ensemble.taxonomy)
    retention, is_measured = None, False
    if len(test):
        key = identity_of((alone.identity, ensemble.identity, test.paths, test.truths), {})
        measured, is_measured = cached_result(
            student_run.folder / "kept.json", key, lambda: asdict(student_run.measure(alone, test))
        )
        retention = StudentReport(**measured)
    return DistillResult(
        manifest=student_run.manifest,
        **{key: taught[key] for key in ("labeled", "taught", "lesson_kept", "licence")},
        unreadable=tuple(taught["unreadable"]),
        retention=retention,
        changed=is_taught or is_measured,
    )


@dataclass
class _StudentRun:
    """State shared by the steps of one call."""

    ensemble: Ensemble
    labeled: Sequence[Example]
    val: FrozenSet
    pool: DatasetView
    folder: Path
    epochs: int
    seed: int
    recipe: Recipe
    device: torch.device
    bars: Callable[[str], Progress | None]

    def __post_init__(self) -> None:
        self._ids, self._paths = collection.ids_and_paths(self.pool)
        pairs = zip(self.val.paths, self.val.truths, strict=True)
        self._validation = [Example(Path(path), truth) for path, truth in pairs]
        self.manifest = self.folder / f"{student.NAME}.yaml"  # lists the student alone
        self.checkpoint = self.folder / student.NAME

    @property
    def identity(self) -> str:
        """Hash of everything that the student is made from."""
        parts = (
            self.ensemble.identity, self.recipe, self.epochs, self.seed, self.labeled,
            self._validation, self._paths,
        )  # fmt: skip
        return identity_of(parts, {})

    def teach(self) -> dict[str, Any]:
        """Write the student and its manifest; return the record."""
        cache = self.folder / "answers.safetensors"
        answers = prediction.predict_objects(
            self.ensemble, [*self.val.ids, *self._ids], [*self.val.paths, *self._paths],
            np.concatenate([self.val.sizes_px, reader.sizes_px(self.pool)]), self.device,
            self.bars("ask"), cache=cache,
        )  # fmt: skip
        thresholds, lesson = self._lesson(answers)
        epochs = (self.epochs, max(1, round(self.epochs * len(self.labeled) / len(lesson))))
        model = self.recipe.build(self.ensemble.taxonomy.names, seed=self.seed)
        first, second = distillation.distill(
            model, self.labeled, lesson, self._validation, out=self.checkpoint,
            epochs=epochs, patience=max(epochs), learning_rates=self.recipe.learning_rates,
            validate_every=max(1, min(epochs) // _VALIDATIONS),
            batch_size=self.recipe.batch_size, seed=self.seed, device=self.device,
            state_file=self.checkpoint.with_suffix(".standing.safetensors"),
            progress=_joined(self.bars("teach"), epochs),
        )  # fmt: skip
        taught = len(lesson) - len(self.labeled)
        lesson_kept = taught > 0 and second.best_epoch > 0
        licence = student.license_expression(self.recipe, self.ensemble if lesson_kept else None)
        student.write_manifest(
            self.manifest, self.checkpoint, self.recipe, licence=licence,
            taxonomy=self.ensemble.taxonomy,
        )  # fmt: skip
        cache.unlink(missing_ok=True)
        unreadable = (*answers.unreadable.values(), *first.unreadable, *second.unreadable)
        return {
            "labeled": len(self.labeled),
            "taught": taught,
            "lesson_kept": lesson_kept,
            "licence": licence,
            "thresholds": thresholds,
            "val_map50": [round(value, 4) for fit in (first, second) for value in fit.val_map50],
            "seconds": round(first.seconds + second.seconds, 2),
            "checkpoint": sources.fingerprint(self.checkpoint),
            "resumed_from": [first.resumed_from, second.resumed_from],
            "unreadable": list(dict.fromkeys(unreadable)),
        }

    def measure(self, alone: Ensemble, test: FrozenSet) -> StudentReport:
        """Compare boxes and latency of ensemble and student on the same images."""
        ensembles = {"ensemble": self.ensemble.with_probe(None), "student": alone}
        progress, objects = self.bars("measure"), {}
        for number, (name, ensemble) in enumerate(ensembles.items()):
            objects[name] = prediction.predict_objects(
                ensemble, test.ids, test.paths, test.sizes_px, self.device,
                subtask(progress, number * len(test), 2 * len(test)),
            ).detections  # fmt: skip
        latencies = prediction.measure_latency(ensembles, test.paths, self.device)
        return student_report.compare_student(
            objects["ensemble"], objects["student"], test, self.ensemble.taxonomy.names,
            {name: latency["p50"] for name, latency in latencies.items()},
        )  # fmt: skip

    def _lesson(self, answers: ObjectPredictions) -> tuple[dict[str, float], list[Example]]:
        """Return the score threshold of each class, and the examples of the lesson."""
        n = len(self.val)
        readable = [i not in answers.unreadable for i in (*self.val.ids, *self._ids)]
        boxes, paths = answers.detections, [Path(path) for path in self._paths]
        thresholds = distillation.thresholds(
            list(compress(boxes, readable[:n])), list(compress(self.val.truths, readable)),
            self.ensemble.taxonomy.names,
        )  # fmt: skip
        return thresholds, distillation.student_examples(
            self.labeled, list(compress(paths, readable[n:])),
            list(compress(boxes[n:], readable[n:])), thresholds,
        )  # fmt: skip


def _joined(progress: Progress | None, epochs: tuple[int, int]) -> Progress:
    """Return a callback for two consecutive fits, which each count from 1, as one."""
    before, last = 0, 0

    def advance(done: int, total: int) -> None:
        nonlocal before, last
        if done <= last:
            before = epochs[0]
        last = done
        if progress:
            progress(before + done, sum(epochs))

    return advance
