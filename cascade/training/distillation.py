"""Teaching one fast student what the ensemble knows.

The student first learns what people labeled. Then it learns the other images, too: there the
objects that the ensemble is sure of are taken for true, each class from the score on at which it is
right most evenly: where precision and recall, on labeled images that nobody trained on, are best
together. What the ensemble is in doubt about is painted over, so that it is learned neither as an
object nor as background. What it missed altogether is learned as background all the same, which
does harm where the ensemble is weak: so what was learned of the ensemble is kept only where the
student is better by it on validation.

- [0] Hinton et al., Distilling the Knowledge in a Neural Network, 2015
- [1] Xu et al., End-to-End Semi-Supervised Object Detection with Soft Teacher, ICCV 2021
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.checkpoints import checkpoint
from cascade.errors import TrainingError
from cascade.geometry import boxes
from cascade.imaging.batches import Image
from cascade.predictions import Detections
from cascade.protocols import Trainable
from cascade.training import fit_state
from cascade.training.examples import Corners, Example
from cascade.training.fit import FitResult, fit
from cascade.training.fit_key import identity_of

NEVER = 1.01  # a threshold that no score reaches
_IOU = 0.5
_OF_THE_CALL = ("device", "keep_every", "progress")  # they do not decide what comes out
DOUBTFUL = 0.1  # calibrated probability from which on a box may well be an object
_LEAST_PRECISION = 0.5  # a class that is more often wrong teaches mistakes


def thresholds(
    found: Sequence[Detections], truths: Sequence[Detections], classes: Sequence[str]
) -> dict[str, float]:
    """Return from which score on the teacher is believed, by class.

    The score with the best F1 at IoU 0.5, where at least half of what is said is right; 1.01,
    which is never, for a class that has none, or no ground truth.

    Args:
        found: What the teacher says about labeled images, in `classes`.
        truths: Their ground truth.
        classes: The names.
    """
    return {name: _threshold(found, truths, i) for i, name in enumerate(classes)}


def pseudo_labels(found: Detections, least: Mapping[str, float]) -> Detections:
    """Return the boxes that the teacher is believed in, as ground truth: their scores are 1."""
    floor = np.array([least[name] for name in found.classes])
    sure = found[found.scores >= floor[found.class_ids]]
    return replace(sure, scores=np.ones(len(sure), np.float32))


def doubtful(found: Detections, least: Mapping[str, float]) -> tuple[Corners, ...]:
    """Return the boxes that may be objects, but in which the teacher is not believed."""
    floor = np.array([least[name] for name in found.classes])[found.class_ids]
    rows = found[(found.scores >= np.minimum(DOUBTFUL, floor)) & (found.scores < floor)]
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in rows.boxes_xyxy)


def lesson(
    labeled: Sequence[Example],
    images: Sequence[Path | str | Image],
    found: Sequence[Detections],
    least: Mapping[str, float],
) -> list[Example]:
    """Return what the student learns from: the labeled examples, then the pseudo-labeled images.

    An image in which the teacher is sure of nothing is left out: it may be empty, or too hard.

    Args:
        labeled: Images with ground truth.
        images: Images without.
        found: What the ensemble says about each of these, in the student's classes, calibrated.
        least: As `thresholds` returned.

    Raises:
        TrainingError: There is not one answer of the ensemble for each image.
    """
    if len(images) != len(found):
        raise TrainingError(
            f"found must hold the ensemble's answer for each unlabeled image, "
            f"got {len(found)} for {len(images)}."
        )
    taught = [
        Example(image, pseudo_labels(one, least), hidden=doubtful(one, least))
        for image, one in zip(images, found, strict=True)
    ]
    return [*labeled, *(one for one in taught if len(one.target))]


def teach(
    student: Trainable,
    labeled: Sequence[Example],
    everything: Sequence[Example],
    val: Sequence[Example],
    *,
    out: Path,
    epochs: tuple[int, int],
    learning_rates: tuple[float, float] = (2e-3, 1e-3),
    **options: Any,
) -> tuple[FitResult, FitResult]:
    """Fit the student on what people labeled, then on the whole lesson, and save it.

    On `val` it ends no worse than it was after the ground truth.

    Args:
        student: Any trainable detector that names the ensemble's classes.
        labeled: Images with ground truth.
        everything: What `lesson` returned.
        val: What decides which epoch is kept, each time.
        out: The checkpoint's folder.
        epochs: Passes over each of the two, at most.
        learning_rates: The highest of each.
        options: Of both fits: see `fit`. With `goes_on` a call that was cut off, in either fit,
            goes on where it stood.
    """
    goes_on: Path | None = options.pop("goes_on", None)
    half = goes_on and goes_on.with_name(f"{goes_on.stem}.labeled{goes_on.suffix}")
    decides = {name: one for name, one in options.items() if name not in _OF_THE_CALL}
    parts = (labeled, val, epochs[0], learning_rates[0], *sorted(decides.items()))
    identity = identity_of(parts, checkpoint.state(student.module)) if half else ""
    known = fit_state.load(half, identity=identity) if half else None
    if known:
        checkpoint.restore(student.module, known.tensors, origin=half)
        first = FitResult(**{**_tuples(known.record["result"]), "checkpoint": out})
    else:
        first = fit(
            student, labeled, val, out=out, epochs=epochs[0], learning_rate=learning_rates[0],
            goes_on=goes_on, **options,
        )  # fmt: skip
        if half:
            record = {"identity": identity, "result": {**asdict(first), "checkpoint": str(out)}}
            fit_state.save(half, record, checkpoint.state(student.module))
    second = fit(
        student, everything, val, out=out, epochs=epochs[1], learning_rate=learning_rates[1],
        goes_on=goes_on, **options,
    )  # fmt: skip
    if half:
        half.unlink(missing_ok=True)
    return first, second


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with tuples where JSON has lists."""
    return {name: tuple(one) if isinstance(one, list) else one for name, one in record.items()}


def _threshold(found: Sequence[Detections], truths: Sequence[Detections], class_id: int) -> float:
    scores, hits, total = _judged(found, truths, class_id)
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(hits[order])
    said = np.arange(1, len(scores) + 1)
    f1 = 2 * right / (said + total)
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # of equal scores
    f1[~last | (right < _LEAST_PRECISION * said)] = 0.0
    return float(scores[f1.argmax()]) if f1.any() else NEVER


def _judged(
    found: Sequence[Detections], truths: Sequence[Detections], class_id: int
) -> tuple[FloatArray, NDArray[np.bool_], int]:
    """Return score and correctness of all boxes of a class, and how many objects there are."""
    scores: list[FloatArray] = [np.zeros(0)]
    hits, total = [np.zeros(0, bool)], 0
    for said, truth in zip(found, truths, strict=True):
        mine = said[said.class_ids == class_id]
        mine = mine[np.argsort(-mine.scores, kind="stable")]
        objects = truth[truth.class_ids == class_id]
        overlaps = boxes.iou(mine.boxes_xyxy, objects.boxes_xyxy)
        scores.append(mine.scores)
        hits.append(boxes.match(overlaps, least=_IOU) >= 0)
        total += len(objects)
    return np.concatenate(scores), np.concatenate(hits), total
