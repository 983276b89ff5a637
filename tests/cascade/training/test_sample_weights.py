import numpy as np
import pytest

from cascade.errors import TrainingError
from cascade.predictions import Detections
from cascade.training.sample_weights import Failures, count_by_class, count_by_slice, image_weights

CLASSES = ("cone", "drum", "sign")
PLACES = [(0.0, 0.0, 0.2, 0.2), (0.4, 0.4, 0.6, 0.6), (0.8, 0.8, 1.0, 1.0)]


def boxes(*rows):
    """Boxes of rows `(place, class id)` or `(place, class id, score)`."""
    return Detections(
        np.array([PLACES[row[0]] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] if len(row) > 2 else 1.0 for row in rows], np.float32),
        np.array([row[1] for row in rows], np.int64),
        CLASSES,
    )


def test_misses_are_counted_by_class():
    predictions = [boxes((0, 0, 0.9), (1, 1, 0.4)), boxes((1, 0, 0.8)), boxes()]
    truths = [boxes((0, 0), (1, 1)), boxes((1, 0), (2, 0)), boxes()]
    failures = count_by_class(predictions, truths, min_score=0.5)
    assert failures.n == {"cone": 3, "drum": 1}
    assert failures.missed == {"cone": 1, "drum": 1}


def test_misses_are_counted_by_slice():
    predictions = [boxes((0, 0, 0.9)), boxes(), boxes((1, 0, 0.9))]
    truths = [boxes((0, 0)), boxes((1, 0), (2, 1)), boxes((1, 0))]
    slices = {"night": np.array([False, True, True]), "rain": np.array([True, False, False])}
    failures = count_by_slice(predictions, truths, slices)
    assert failures.n == {"night": 3, "rain": 1}
    assert failures.missed == {"night": 2, "rain": 0}


def test_rates_of_few_objects_shrink_toward_overall_rate():
    rates = Failures(n={"many": 1000, "few": 2}, missed={"many": 100, "few": 2}).rates()
    overall = 102 / 1002
    assert rates["many"] == pytest.approx(0.1, abs=0.001)
    assert overall < rates["few"] < 0.3
    assert rates["few"] == pytest.approx((2 + 10 * overall) / 12)


def test_images_of_hard_classes_have_higher_weights():
    failures = Failures(n={"cone": 1000, "drum": 1000}, missed={"cone": 100, "drum": 300})
    weights = image_weights(
        [boxes((0, 0)), boxes((0, 0), (1, 1)), boxes(), boxes((0, 2))], failures
    )
    assert weights == pytest.approx([1.0, 1.5, 1.0, 1.0], abs=0.01)


def test_hardest_class_or_slice_determines_weight():
    failures = Failures(n={"cone": 1000, "drum": 1000}, missed={"cone": 100, "drum": 300})
    hard = Failures(n={"night": 1000, "day": 1000}, missed={"night": 360, "day": 40})
    weights = image_weights(
        [boxes((0, 1)), boxes((0, 1)), boxes()],
        failures,
        slices=[("day",), ("night",), ("night", "day")],
        of_slice=hard,
    )
    assert weights == pytest.approx([1.5, 1.8, 1.8], abs=0.02)


def test_weight_is_limited():
    failures = Failures(n={"cone": 100_000, "drum": 1000}, missed={"cone": 100, "drum": 1000})
    assert image_weights([boxes((0, 1))], failures, max_weight=3.0) == pytest.approx([3.0])


@pytest.mark.parametrize("n", [{}, {"cone": 50}])
def test_weights_are_equal_without_failures(n):
    failures = Failures(n=n, missed=dict.fromkeys(n, 0))
    assert image_weights([boxes((0, 0)), boxes()], failures).tolist() == [1, 1]


def test_more_misses_than_objects_are_rejected():
    with pytest.raises(
        TrainingError, match=r"missed must be between 0 and n .* not for \['cone'\]"
    ):
        Failures(n={"cone": 1}, missed={"cone": 2})
