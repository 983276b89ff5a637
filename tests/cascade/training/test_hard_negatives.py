import numpy as np
import pytest

from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.examples import Example
from cascade.training.hard_negatives import LookAlike, examples, look_alikes, window_of

CLASSES = ("cone", "drum")


def boxes(*rows):
    """Boxes of rows `((x1, y1, x2, y2), class id, score)`."""
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[1] for row in rows], np.int64),
        CLASSES,
    )


A, NEAR_A, B = (0.1, 0.1, 0.3, 0.3), (0.2, 0.2, 0.4, 0.4), (0.6, 0.6, 0.8, 0.8)


def test_a_look_alike_is_sure_and_far_from_every_object():
    found = [
        boxes((A, 0, 0.9), (B, 1, 0.7)),  # A is true
        boxes((NEAR_A, 0, 0.9), (B, 0, 0.4)),  # badly placed; unsure
        boxes((A, 1, 0.95)),
    ]
    truths = [boxes((A, 1, 1.0)), boxes((A, 0, 1.0)), boxes()]
    mined = look_alikes(found, truths)
    assert [(one.image, one.label) for one in mined] == [(2, "drum"), (0, "drum")]
    assert mined[1].box == pytest.approx(B)
    assert mined[1].score == pytest.approx(0.7)


def test_there_must_be_an_answer_for_each_image():
    with pytest.raises(TrainingError, match="got 1 and 0"):
        look_alikes([boxes()], [])


@pytest.mark.parametrize(
    ("box", "window"),
    [
        pytest.param((0.45, 0.45, 0.55, 0.55), (0.35, 0.35, 0.65, 0.65), id="in the middle"),
        pytest.param((0.0, 0.9, 0.1, 1.0), (0.0, 0.7, 0.3, 1.0), id="in a corner"),
        pytest.param((0.5, 0.5, 0.52, 0.52), (0.36, 0.36, 0.66, 0.66), id="tiny"),
        pytest.param((0.1, 0.1, 0.9, 0.5), (0.0, 0.0, 1.0, 1.0), id="large"),
    ],
)
def test_the_window_holds_the_box_and_stays_in_the_image(box, window):
    assert window_of(box) == pytest.approx(window, abs=1e-6)


def test_the_surest_become_examples_that_are_cut_out():
    train = [Example("a.jpg", boxes((A, 0, 1.0))), Example("b.jpg", boxes())] * 4
    mined = [LookAlike(i % 8, B, 0.9 - i / 100, "cone") for i in range(5)]
    added = examples(train, mined, share=0.25)
    assert [one.image for one in added] == ["a.jpg", "b.jpg"]
    assert added[0].window == pytest.approx(window_of(B))
    assert added[0].target is train[0].target


def test_windows_are_not_mined_again():
    train = [Example("a.jpg", boxes(), window=(0, 0, 0.5, 0.5))] * 4
    assert examples(train, [LookAlike(0, B, 0.9, "cone")], share=1.0) == []
