"""Teach one fast student what people labeled, and what the ensemble is sure of elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cascade.checkpoints import sources
from cascade.engine.run import Progress, default_device
from cascade.ensemble import Ensemble
from cascade.training import distillation
from cascade.training.examples import Example
from cascade.training.fit_key import identity_of
from curation.active_learning.evaluation import student_report
from curation.active_learning.evaluation.frozen_set import FrozenSet, frozen_set
from curation.active_learning.evaluation.student_report import Kept
from curation.active_learning.training import examples, student
from curation.active_learning.training.cached_result import once
from curation.active_learning.training.student import STUDENT, Recipe
from curation.errors import StageError
from curation.inference import prediction
from curation.inference.prediction import Answers
from curation.storage import collection, queries, reader

if TYPE_CHECKING:
    from fiftyone import Dataset

_VALIDATIONS = 5  # of each of the two fits


@dataclass(frozen=True)
class DistilResult:
    """What a call came to.

    Attributes:
        manifest: The YAML file of one member, for `curate predict --manifest`.
        labeled: Images that people labeled, which it learned from.
        taught: Other images in the lesson: those in which the ensemble is sure of something.
        lesson_kept: Whether it is as it was after the lesson: only where validation was better
            then, or found nothing before. That may be the work of the further steps alone.
        licence: Of the student, by what it was made from.
        unreadable: Why images were left out.
        kept: What it keeps of the ensemble; None without a labeled test split.
        changed: Whether this call did anything.
    """

    manifest: Path
    labeled: int
    taught: int
    lesson_kept: bool
    licence: str
    unreadable: tuple[str, ...]
    kept: Kept | None
    changed: bool


def distil(
    dataset: Dataset,
    ensemble: Ensemble,
    folder: Path,
    *,
    epochs: int,
    seed: int = 0,
    recipe: Recipe = STUDENT,
    device: torch.device | None = None,
    bars: Callable[[str], Progress | None] = lambda part: None,
) -> DistilResult:
    """Make a student of an ensemble, and measure both on the frozen test split.

    It learns the labeled training samples, then also what the ensemble is sure of in the rest of
    the pool; that lesson is kept only where validation is better by it. A call that was cut off
    goes on; what it was made from unchanged, a second call does nothing. An image that cannot be
    read is left out, and on record. Nothing is registered, and the dataset is not written to.

    Args:
        dataset: The FiftyOne dataset.
        ensemble: The teacher.
        folder: `student/`, `student.yaml` and what was measured are written into it; another
            student that is there is replaced.
        epochs: Passes over the labeled samples; the lesson then shows about as many images again.
        seed: Of the student's new head, the order and the augmentation.
        recipe: What the student is.
        device: Where; the first GPU, else the CPU.
        bars: Makes the progress bar of a part: `ask`, `teach` and `measure`.

    Raises:
        StageError: The ensemble has no detector, too few training samples are labeled, or no
            validation sample is.
    """
    if not ensemble.detectors:
        raise StageError(
            f"The manifest {ensemble.manifest.name!r} has no detector that can run here, so there "
            "is nobody to learn from. Take one that has, such as `tiny`."
        )
    labeled = examples.to_train_on(dataset, ensemble.taxonomy)
    val = frozen_set(dataset, "val", ensemble.taxonomy)
    if not any(len(one) for one in val.truths):
        raise StageError(
            f"The split 'val' of {dataset.name!r} has no labeled box, so nothing says whether what "
            "the ensemble teaches helps. Ingest labeled images with that split."
        )
    work = _Work(
        ensemble, labeled, val, queries.pool(dataset), folder.absolute(), epochs, seed, recipe,
        device or default_device(), bars,
    )  # fmt: skip
    made = (work.manifest, work.checkpoint)
    taught, is_new = once(work.folder / "taught.json", work.identity, work.teach, needs=made)
    alone = Ensemble.from_manifest(work.manifest, taxonomy=ensemble.taxonomy)
    test = frozen_set(dataset, "test", ensemble.taxonomy)
    kept, is_measured = None, False
    if len(test):
        key = identity_of((alone.identity, ensemble.identity, test.paths, test.truths), {})
        measured, is_measured = once(
            work.folder / "kept.json", key, lambda: asdict(work.measure(alone, test))
        )
        kept = Kept(**measured)
    return DistilResult(
        manifest=work.manifest,
        labeled=len(labeled),
        taught=taught["taught"],
        lesson_kept=taught["lesson_kept"],
        licence=taught["licence"],
        unreadable=tuple(taught["unreadable"]),
        kept=kept,
        changed=is_new or is_measured,
    )


@dataclass
class _Work:
    """What the parts of one call share."""

    ensemble: Ensemble
    labeled: Sequence[Example]
    val: FrozenSet
    pool: Any
    folder: Path
    epochs: int
    seed: int
    recipe: Recipe
    device: torch.device
    bars: Callable[[str], Progress | None]

    def __post_init__(self) -> None:
        self._ids, self._paths = collection.ids_and_paths(self.pool)

    @property
    def manifest(self) -> Path:
        """The file of the student alone."""
        return self.folder / f"{student.NAME}.yaml"

    @property
    def checkpoint(self) -> Path:
        """The student's folder."""
        return self.folder / student.NAME

    @property
    def identity(self) -> str:
        """What the student is made of: equal exactly when all of it is."""
        parts = (
            self.ensemble.identity, self.recipe, self.epochs, self.seed, self.labeled,
            self._validation, self._paths,
        )  # fmt: skip
        return identity_of(parts, {})

    @property
    def _validation(self) -> list[Example]:
        pairs = zip(self.val.paths, self.val.truths, strict=True)
        return [Example(Path(path), truth) for path, truth in pairs]

    def teach(self) -> dict[str, Any]:
        """Write the student and its manifest, and return what is to be on record."""
        answers = self.folder / "answers.safetensors"
        said = self._asked(answers)
        least, lesson = self._lesson(said)
        epochs = (self.epochs, max(1, round(self.epochs * len(self.labeled) / len(lesson))))
        model = self.recipe.build(self.ensemble.taxonomy.names, seed=self.seed)
        first, second = distillation.teach(
            model, self.labeled, lesson, self._validation, out=self.checkpoint,
            epochs=epochs, patience=max(epochs), learning_rates=self.recipe.learning_rates,
            validate_every=max(1, min(epochs) // _VALIDATIONS),
            batch_size=self.recipe.batch_size, seed=self.seed, device=self.device,
            goes_on=self.checkpoint.with_suffix(".standing.safetensors"),
            progress=_one_after_the_other(self.bars("teach"), epochs),
        )  # fmt: skip
        taught = len(lesson) - len(self.labeled)
        lesson_kept = taught > 0 and second.best_epoch > 0
        licence = student.licence_of(self.recipe, self.ensemble if lesson_kept else None)
        student.write_manifest(
            self.manifest, self.checkpoint, self.recipe, licence=licence,
            taxonomy=self.ensemble.taxonomy,
        )  # fmt: skip
        answers.unlink(missing_ok=True)
        return {
            "labeled": len(self.labeled),
            "taught": taught,
            "lesson_kept": lesson_kept,
            "licence": licence,
            "thresholds": least,
            "val_map50": [round(one, 4) for fit in (first, second) for one in fit.val_map50],
            "seconds": round(first.seconds + second.seconds, 2),
            "checkpoint": sources.fingerprint(self.checkpoint),
            "resumed_from": [first.resumed_from, second.resumed_from],
            "unreadable": list(
                dict.fromkeys((*said.unreadable.values(), *first.unreadable, *second.unreadable))
            ),
        }

    def measure(self, alone: Ensemble, test: FrozenSet) -> Kept:
        """Compare both on the same images: their boxes, and how long they take for them."""
        both = {"ensemble": self.ensemble.with_probe(None), "student": alone}
        told, found = self.bars("measure"), {}
        for number, (who, one) in enumerate(both.items()):
            before = number * len(test)
            found[who] = prediction.objects(
                one, test.ids, test.paths, test.sizes_px, self.device,
                told and (lambda done, _, b=before: told(b + done, 2 * len(test))),
            ).found  # fmt: skip
        timed = prediction.timed(both, test.paths, self.device)
        return student_report.kept(
            found["ensemble"], found["student"], test, self.ensemble.taxonomy.names,
            {who: one["p50"] for who, one in timed.items()},
        )  # fmt: skip

    def _asked(self, kept: Path) -> Answers:
        """Return what the ensemble says about validation, then about the pool."""
        return prediction.objects_once(
            kept, self.ensemble, [*self.val.ids, *self._ids], [*self.val.paths, *self._paths],
            np.concatenate([self.val.sizes_px, reader.sizes_px(self.pool)]), self.device,
            self.bars("ask"),
        )  # fmt: skip

    def _lesson(self, said: Answers) -> tuple[dict[str, float], list[Example]]:
        """Return from which score on the ensemble is believed, and what the student learns."""
        n = len(self.val)
        can_be_read = [one not in said.unreadable for one in (*self.val.ids, *self._ids)]
        on_val = list(compress(zip(said.found, self.val.truths, strict=False), can_be_read))
        on_pool = list(compress(zip(self._paths, said.found[n:], strict=True), can_be_read[n:]))
        least = distillation.thresholds(
            [one for one, _ in on_val], [truth for _, truth in on_val],
            self.ensemble.taxonomy.names,
        )  # fmt: skip
        return least, distillation.lesson(
            self.labeled, [Path(path) for path, _ in on_pool], [one for _, one in on_pool], least
        )


def _one_after_the_other(told: Progress | None, epochs: tuple[int, int]) -> Progress | None:
    """Return what makes one work of two fits for the one who is told: both count from 1."""
    if told is None:
        return None
    before, last = 0, 0

    def tell(done: int, total: int) -> None:
        nonlocal before, last
        if done <= last:
            before = epochs[0]
        last = done
        told(before + done, sum(epochs))

    return tell
