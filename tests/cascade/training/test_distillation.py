"""Pseudo-labels of the confident boxes, and training of the student."""

import numpy as np
import pytest

from cascade import registry
from cascade.checkpoints import sources
from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.distillation import (
    NEVER,
    distill,
    doubtful_boxes,
    pseudo_labels,
    student_examples,
    thresholds,
)
from cascade.training.examples import Example

CLASSES = ("cone", "drum")
PLACES = [(0.0, 0.0, 0.2, 0.2), (0.4, 0.4, 0.6, 0.6), (0.8, 0.8, 1.0, 1.0)]


def boxes(*rows):
    """Return the boxes with rows `(place, score, class id)`."""
    return Detections(
        np.array([PLACES[place] for place, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([class_id for _, _, class_id in rows], np.int64),
        CLASSES,
    )


def test_threshold_has_best_f1():
    """By hand: at 0.8, F1 = 4/5 (two of two); at 0.6, two of three; at 0.3, 6/7 (three of four)."""
    predictions = [boxes((0, 0.9, 0), (1, 0.8, 0)), boxes((0, 0.6, 0)), boxes((2, 0.3, 0))]
    truths = [boxes((0, 1, 0), (1, 1, 0)), boxes(), boxes((2, 1, 0))]
    assert thresholds(predictions, truths, CLASSES)["cone"] == pytest.approx(0.3)
    assert thresholds(predictions[:2], truths[:2], CLASSES)["cone"] == pytest.approx(0.8)


def test_class_with_low_precision_or_without_truth_has_no_threshold():
    predictions = [boxes((0, 0.9, 1), (1, 0.8, 1), (2, 0.7, 1))]
    min_scores = thresholds(predictions, [boxes((2, 1, 1))], CLASSES)
    assert min_scores == {"cone": NEVER, "drum": NEVER}


def test_equal_scores_share_a_threshold():
    predictions = [boxes((0, 0.5, 0), (1, 0.5, 0), (2, 0.5, 0))]
    assert thresholds(predictions, [boxes((0, 1, 0))], CLASSES)["cone"] == NEVER


def test_pseudo_labels_are_boxes_above_thresholds():
    labels = pseudo_labels(boxes((0, 0.9, 0), (1, 0.4, 0), (2, 0.4, 1)), {"cone": 0.5, "drum": 0.4})
    assert labels.labels == ["cone", "drum"]
    assert labels.scores.tolist() == [1, 1]
    assert labels.boxes_xyxy[1] == pytest.approx(PLACES[2])


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_images_without_confident_boxes_are_left_out():
    labeled = [Example(image(), boxes((0, 1, 0)))]
    predictions = [boxes((1, 0.9, 0)), boxes((1, 0.2, 0)), boxes()]
    examples = student_examples(labeled, ["a", "b", "c"], predictions, {"cone": 0.5, "drum": NEVER})
    assert [example.image for example in examples[1:]] == ["a"]
    assert examples[0] is labeled[0]
    with pytest.raises(TrainingError, match="got 1 for 2"):
        student_examples(labeled, ["a", "b"], predictions[:1], {})


def test_doubtful_boxes_are_hidden():
    """Below the threshold, a box may be an object from 0.1; a lower score is background."""
    min_scores = {"cone": 0.5, "drum": NEVER}
    predictions = boxes((0, 0.9, 0), (1, 0.4, 0), (2, 0.05, 0), (2, 0.3, 1))
    assert np.array(doubtful_boxes(predictions, min_scores)) == pytest.approx(
        np.array([PLACES[1], PLACES[2]])
    )
    (example,) = student_examples([], ["a"], [predictions], min_scores)
    assert example.target.labels == ["cone"]
    assert example.hidden == doubtful_boxes(predictions, min_scores)
    assert doubtful_boxes(boxes((0, 0.08, 0), (1, 0.07, 0)), {"cone": 0.075, "drum": NEVER}) == ()


def student():
    return registry.create("center_point", classes=CLASSES, size=64, width=16)


def test_student_learns_labels_then_all_examples_and_gets_no_worse(tmp_path):
    labeled = [Example(image(1), boxes((0, 1, 0)))]
    examples = [*labeled, Example(image(2), boxes((1, 1, 1)))]
    first, second = distill(
        student(), labeled, examples, labeled, out=tmp_path / "a", epochs=(2, 3), patience=9
    )
    assert (first.epochs, second.epochs) == (2, 3)
    assert second.val_map50_before == max([first.val_map50_before, *first.val_map50])
    assert registry.create("center_point", tmp_path / "a").classes == CLASSES


class InterruptionError(Exception):
    """Simulates the end of a process."""


@pytest.mark.parametrize("interrupted_after", [1, 2, 3, 4])
def test_interrupted_distillation_resumes_in_either_fit(tmp_path, interrupted_after):
    labeled = [Example(image(1), boxes((0, 1, 0)))]
    examples = [*labeled, Example(image(2), boxes((1, 1, 1)))]
    done = 0

    def progress(epoch, epochs):
        nonlocal done
        done += 1
        if done == interrupted_after:
            raise InterruptionError

    def run(name, **options):
        return distill(
            student(), labeled, examples, [], out=tmp_path / name, epochs=(2, 3), **options
        )

    reference = run("reference")
    state_file = tmp_path / "fit.standing.safetensors"
    with pytest.raises(InterruptionError):
        run("cut", state_file=state_file, progress=progress)
    first, second = run("cut", state_file=state_file)
    assert sources.fingerprint(tmp_path / "cut") == sources.fingerprint(tmp_path / "reference")
    assert [fit.train_loss for fit in (first, second)] == [fit.train_loss for fit in reference]
    # After the last epoch of the first fit, only the end of that fit is repeated.
    assert (first.resumed_from, second.resumed_from) == {
        1: (1, 0), 2: (1, 0), 3: (0, 1), 4: (0, 2)
    }[interrupted_after]  # fmt: skip
    assert [file.name for file in tmp_path.iterdir() if "standing" in file.name] == []
