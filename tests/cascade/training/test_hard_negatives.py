import numpy as np
import pytest

from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.examples import Example
from cascade.training.hard_negatives import (
    HardNegative,
    find_hard_negatives,
    hard_negative_examples,
    window_around,
)

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


def test_hard_negative_is_confident_and_far_from_objects():
    predictions = [
        boxes((A, 0, 0.9), (B, 1, 0.7)),  # A is true
        boxes((NEAR_A, 0, 0.9), (B, 0, 0.4)),  # poor position; low score
        boxes((A, 1, 0.95)),
    ]
    truths = [boxes((A, 1, 1.0)), boxes((A, 0, 1.0)), boxes()]
    negatives = find_hard_negatives(predictions, truths)
    assert [(negative.image, negative.label) for negative in negatives] == [
        (2, "drum"),
        (0, "drum"),
    ]
    assert negatives[1].box == pytest.approx(B)
    assert negatives[1].score == pytest.approx(0.7)


def test_different_numbers_of_images_are_rejected():
    with pytest.raises(TrainingError, match="got 1 and 0"):
        find_hard_negatives([boxes()], [])


@pytest.mark.parametrize(
    ("box", "window"),
    [
        pytest.param((0.45, 0.45, 0.55, 0.55), (0.35, 0.35, 0.65, 0.65), id="in the middle"),
        pytest.param((0.0, 0.9, 0.1, 1.0), (0.0, 0.7, 0.3, 1.0), id="in a corner"),
        pytest.param((0.5, 0.5, 0.52, 0.52), (0.36, 0.36, 0.66, 0.66), id="tiny"),
        pytest.param((0.1, 0.1, 0.9, 0.5), (0.0, 0.0, 1.0, 1.0), id="large"),
    ],
)
def test_window_contains_box_and_stays_in_image(box, window):
    assert window_around(box) == pytest.approx(window, abs=1e-6)


def test_most_confident_negatives_become_windows():
    train = [Example("a.jpg", boxes((A, 0, 1.0))), Example("b.jpg", boxes())] * 4
    negatives = [HardNegative(i % 8, B, 0.9 - i / 100, "cone") for i in range(5)]
    added = hard_negative_examples(train, negatives, share=0.25)
    assert [example.image for example in added] == ["a.jpg", "b.jpg"]
    assert added[0].window == pytest.approx(window_around(B))
    assert added[0].target is train[0].target


def test_windows_are_not_searched_again():
    train = [Example("a.jpg", boxes(), window=(0, 0, 0.5, 0.5))] * 4
    assert hard_negative_examples(train, [HardNegative(0, B, 0.9, "cone")], share=1.0) == []
