"""Distillation of the ensemble into one fast student.

The student first learns the human labels. It then also learns the unlabeled images, where the
confident objects of the ensemble serve as ground truth. The confidence threshold of each class is
the score with the best F1 on labeled images that were not used for training. Doubtful boxes of the
ensemble are masked in the image, and count neither as objects nor as background. Objects that the
ensemble missed are learned as background, which does harm where the ensemble is weak: the second
part is therefore kept only if it improves the student on validation.

- [0] Hinton et al., Distilling the Knowledge in a Neural Network, 2015
- [1] Xu et al., End-to-End Semi-Supervised Object Detection with Soft Teacher, ICCV 2021
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.checkpoints import checkpoint
from cascade.errors import TrainingError
from cascade.imaging.batches import Image
from cascade.predictions import Detections
from cascade.protocols import Trainable
from cascade.training import fit_state
from cascade.training.augmentation.augment import Corners
from cascade.training.examples import Example
from cascade.training.fit import FitResult, fit
from cascade.training.fit_key import identity_of
from cascade.training.matching import match_objects

NEVER = 1.01  # a threshold above every score
DOUBTFUL = 0.1  # calibrated probability above which a box may be an object
_MIN_PRECISION = 0.5  # a class with a lower precision teaches mistakes
_WITHOUT_EFFECT = ("device", "save_every", "progress")  # options that do not change the result


def thresholds(
    predictions: Sequence[Detections], truths: Sequence[Detections], classes: Sequence[str]
) -> dict[str, float]:
    """Return the minimum score for the teacher's pseudo-labels, by class.

    It is the score with the best F1 at IoU 0.5 among those with a precision of at least 0.5.
    If there is no such score or no ground truth, it is 1.01, which no score reaches.

    Args:
        predictions: Predictions of the teacher on labeled images, with `classes`.
        truths: Ground truth of the images.
        classes: Class names.
    """
    matches = [match_objects(*pair) for pair in zip(predictions, truths, strict=True)]
    scores = np.concatenate([boxes.scores for boxes, _ in matches] or [np.zeros(0)])
    labels = np.array([label for boxes, _ in matches for label in boxes.labels], str)
    hits = np.concatenate([objects >= 0 for _, objects in matches] or [np.zeros(0, bool)])
    n_objects = Counter(label for truth in truths for label in truth.labels)
    return {
        name: _threshold(scores[labels == name], hits[labels == name], n_objects[name])
        for name in classes
    }


def pseudo_labels(prediction: Detections, min_scores: Mapping[str, float]) -> Detections:
    """Return the confident boxes of the teacher as ground truth, with scores of 1."""
    floor = np.array([min_scores[name] for name in prediction.classes])
    confident = prediction[prediction.scores >= floor[prediction.class_ids]]
    return replace(confident, scores=np.ones(len(confident), np.float32))


def doubtful_boxes(prediction: Detections, min_scores: Mapping[str, float]) -> tuple[Corners, ...]:
    """Return the boxes that may be objects but are below the teacher's thresholds."""
    floor = np.array([min_scores[name] for name in prediction.classes])[prediction.class_ids]
    scores = prediction.scores
    doubtful = prediction[(scores >= np.minimum(DOUBTFUL, floor)) & (scores < floor)]
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in doubtful.boxes_xyxy.tolist())


def student_examples(
    labeled: Sequence[Example],
    images: Sequence[Path | str | Image],
    predictions: Sequence[Detections],
    min_scores: Mapping[str, float],
) -> list[Example]:
    """Return the labeled examples, followed by the pseudo-labeled images.

    An image without a confident box is left out: it may be empty or too difficult.

    Args:
        labeled: Images with ground truth.
        images: Unlabeled images.
        predictions: Calibrated predictions of the ensemble on `images`, in the student's classes.
        min_scores: Output of `thresholds`.

    Raises:
        TrainingError: The numbers of images and predictions differ.
    """
    if len(images) != len(predictions):
        raise TrainingError(
            f"predictions must cover each unlabeled image, got {len(predictions)} for "
            f"{len(images)}."
        )
    examples = [
        Example(
            image,
            pseudo_labels(prediction, min_scores),
            hidden=doubtful_boxes(prediction, min_scores),
        )
        for image, prediction in zip(images, predictions, strict=True)
    ]
    return [*labeled, *(example for example in examples if len(example.target))]


def distill(
    student: Trainable,
    labeled: Sequence[Example],
    examples: Sequence[Example],
    val: Sequence[Example],
    *,
    out: Path,
    epochs: tuple[int, int],
    learning_rates: tuple[float, float] = (2e-3, 1e-3),
    state_file: Path | None = None,
    **options: Any,
) -> tuple[FitResult, FitResult]:
    """Fit the student on the labeled examples, then on all examples, and save it.

    The second fit never makes it worse on `val`.

    Args:
        student: A trainable detector with the ensemble's classes.
        labeled: Images with ground truth.
        examples: Output of `student_examples`.
        val: Validation examples, which select the best epoch of each fit.
        out: Folder of the checkpoint.
        epochs: Maximal number of epochs of each fit.
        learning_rates: Maximal learning rate of each fit.
        state_file: File for the state; a call that was interrupted in either fit resumes from it.
        options: Options of both fits, see `fit`.
    """
    first_file = state_file and state_file.with_name(
        f"{state_file.stem}.labeled{state_file.suffix}"
    )
    state, identity = None, ""
    if first_file:
        decisive = {name: v for name, v in options.items() if name not in _WITHOUT_EFFECT}
        parts = (labeled, val, epochs[0], learning_rates[0], *sorted(decisive.items()))
        identity = identity_of(parts, checkpoint.state(student.module))
        state = fit_state.load(first_file, identity=identity)
    options |= {"out": out, "state_file": state_file}
    if state:
        checkpoint.restore(student.module, state.tensors, origin=first_file)
        first = replace(FitResult.from_record(state.record["result"]), checkpoint=out)
    else:
        first = fit(
            student, labeled, val, epochs=epochs[0], learning_rate=learning_rates[0], **options
        )
        if first_file:
            record = {"identity": identity, "result": {**asdict(first), "checkpoint": str(out)}}
            fit_state.save(first_file, record, checkpoint.state(student.module))
    second = fit(
        student, examples, val, epochs=epochs[1], learning_rate=learning_rates[1], **options
    )
    if first_file:
        first_file.unlink(missing_ok=True)
    return first, second


def _threshold(scores: FloatArray, hits: NDArray[np.bool_], n_objects: int) -> float:
    order = np.argsort(-scores, kind="stable")
    scores, n_correct = scores[order], np.cumsum(hits[order])
    n_boxes = np.arange(1, len(scores) + 1)
    f1 = 2 * n_correct / (n_boxes + n_objects)
    is_last_of_equal = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    f1[~is_last_of_equal | (n_correct < _MIN_PRECISION * n_boxes)] = 0.0
    return float(scores[f1.argmax()]) if f1.any() else NEVER
