"""What the student is told: what the teacher is sure of, and nothing else."""

import numpy as np
import pytest

from cascade import registry
from cascade.checkpoints import sources
from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.distillation import (
    NEVER,
    doubtful,
    lesson,
    pseudo_labels,
    teach,
    thresholds,
)
from cascade.training.examples import Example

CLASSES = ("cone", "drum")
PLACES = [(0.0, 0.0, 0.2, 0.2), (0.4, 0.4, 0.6, 0.6), (0.8, 0.8, 1.0, 1.0)]


def says(*rows):
    """Boxes of rows `(place, score, class id)`."""
    return Detections(
        np.array([PLACES[place] for place, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([one for _, _, one in rows], np.int64),
        CLASSES,
    )


def test_the_threshold_is_where_precision_and_recall_are_best_together():
    """By hand: at 0.8 two of two, F1 = 4/5; at 0.6 two of three; at 0.3 three of four, 6/7."""
    found = [says((0, 0.9, 0), (1, 0.8, 0)), says((0, 0.6, 0)), says((2, 0.3, 0))]
    truths = [says((0, 1, 0), (1, 1, 0)), says(), says((2, 1, 0))]
    assert thresholds(found, truths, CLASSES)["cone"] == pytest.approx(0.3)
    assert thresholds(found[:2], truths[:2], CLASSES)["cone"] == pytest.approx(0.8)


def test_a_class_that_is_mostly_wrong_or_unknown_is_never_believed():
    found = [says((0, 0.9, 1), (1, 0.8, 1), (2, 0.7, 1))]
    least = thresholds(found, [says((2, 1, 1))], CLASSES)
    assert least == {"cone": NEVER, "drum": NEVER}


def test_equal_scores_are_believed_together_or_not_at_all():
    found = [says((0, 0.5, 0), (1, 0.5, 0), (2, 0.5, 0))]
    assert thresholds(found, [says((0, 1, 0))], CLASSES)["cone"] == NEVER


def test_pseudo_labels_are_what_the_teacher_is_believed_in():
    told = pseudo_labels(says((0, 0.9, 0), (1, 0.4, 0), (2, 0.4, 1)), {"cone": 0.5, "drum": 0.4})
    assert told.labels == ["cone", "drum"]
    assert told.scores.tolist() == [1, 1]
    assert told.boxes_xyxy[1] == pytest.approx(PLACES[2])


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_a_lesson_leaves_out_what_the_teacher_is_not_sure_of():
    labeled = [Example(image(), says((0, 1, 0)))]
    found = [says((1, 0.9, 0)), says((1, 0.2, 0)), says()]
    learned = lesson(labeled, ["a", "b", "c"], found, {"cone": 0.5, "drum": NEVER})
    assert [one.image for one in learned[1:]] == ["a"]
    assert learned[0] is labeled[0]
    with pytest.raises(TrainingError, match="got 1 for 2"):
        lesson(labeled, ["a", "b"], found[:1], {})


def test_what_the_teacher_doubts_is_hidden():
    """A box under the threshold may be an object from 0.1 on; below it is background."""
    least = {"cone": 0.5, "drum": NEVER}
    found = says((0, 0.9, 0), (1, 0.4, 0), (2, 0.05, 0), (2, 0.3, 1))
    assert np.array(doubtful(found, least)) == pytest.approx(np.array([PLACES[1], PLACES[2]]))
    (taught,) = lesson([], ["a"], [found], least)
    assert taught.target.labels == ["cone"]
    assert taught.hidden == doubtful(found, least)
    assert doubtful(says((0, 0.08, 0), (1, 0.07, 0)), {"cone": 0.075, "drum": NEVER}) == ()


def student():
    return registry.create("center_point", classes=CLASSES, size=64, width=16)


def test_a_student_learns_the_ground_truth_then_the_lesson_and_gets_no_worse(tmp_path):
    labeled = [Example(image(1), says((0, 1, 0)))]
    everything = [*labeled, Example(image(2), says((1, 1, 1)))]
    first, second = teach(
        student(), labeled, everything, labeled, out=tmp_path / "a", epochs=(2, 3), patience=9
    )
    assert (first.epochs, second.epochs) == (2, 3)
    assert second.val_map50_before == max([first.val_map50_before, *first.val_map50])
    assert registry.create("center_point", tmp_path / "a").classes == CLASSES


class CutOffError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_lesson_that_was_cut_off_goes_on_in_either_fit(tmp_path, cut):
    labeled = [Example(image(1), says((0, 1, 0)))]
    everything = [*labeled, Example(image(2), says((1, 1, 1)))]
    done = 0

    def progress(epoch, epochs):
        nonlocal done
        done += 1
        if done == cut:
            raise CutOffError

    def taught(name, **options):
        return teach(
            student(), labeled, everything, [], out=tmp_path / name, epochs=(2, 3), **options
        )

    whole = taught("whole")
    goes_on = tmp_path / "fit.standing.safetensors"
    with pytest.raises(CutOffError):
        taught("cut", goes_on=goes_on, progress=progress)
    first, second = taught("cut", goes_on=goes_on)
    assert sources.fingerprint(tmp_path / "cut") == sources.fingerprint(tmp_path / "whole")
    assert [one.train_loss for one in (first, second)] == [one.train_loss for one in whole]
    # After the first fit's last epoch nothing of that fit is to be done again but its end.
    assert (first.resumed_from, second.resumed_from) == {
        1: (1, 0), 2: (1, 0), 3: (0, 1), 4: (0, 2)
    }[cut]  # fmt: skip
    assert [one.name for one in tmp_path.iterdir() if "standing" in one.name] == []
