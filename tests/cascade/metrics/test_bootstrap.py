import numpy as np
import pytest

from cascade.errors import BadPredictionsError
from cascade.metrics.average_precision import average_precision
from cascade.metrics.bootstrap import ap50_draws
from cascade.metrics.classification import grouped_bootstrap
from cascade.predictions import Detections

CLASSES = ("cone", "drum", "never")


def scene(generator, n_boxes):
    corners = np.sort(generator.random((n_boxes, 2, 2)), axis=1).reshape(-1, 4)
    return Detections(
        boxes_xyxy=corners,
        scores=generator.random(n_boxes),
        class_ids=generator.integers(0, 2, n_boxes),
        classes=CLASSES,
    )


def case(seed, n=24):
    """Return truths, and predictions derived from them by noise, misses and false positives."""
    generator = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(n):
        truth = scene(generator, generator.integers(0, 5))
        hits = truth[generator.random(len(truth)) < 0.8]
        new = scene(generator, generator.integers(0, 3))
        jittered = np.clip(hits.boxes_xyxy + generator.normal(0, 0.01, (len(hits), 4)), 0, 1)
        corners = np.concatenate([jittered.reshape(-1, 2, 2), new.boxes_xyxy.reshape(-1, 2, 2)])
        predictions.append(
            Detections(
                boxes_xyxy=np.sort(corners, axis=1).reshape(-1, 4),
                scores=generator.random(len(corners)),
                class_ids=np.concatenate([hits.class_ids, new.class_ids]),
                classes=CLASSES,
            )
        )
        truths.append(truth)
    return predictions, truths


@pytest.mark.parametrize("seed", range(5))
def test_single_group_equals_average_precision(seed):
    predictions, truths = case(seed)
    intervals = ap50_draws(
        predictions, truths, CLASSES, ["group"] * len(truths), draws=3
    ).intervals()
    reference = average_precision(predictions, truths, CLASSES)
    assert intervals.map50 == pytest.approx((reference.map50, reference.map50))
    for name in CLASSES[:2]:
        assert intervals.ap50[name] == pytest.approx((reference.ap50[name],) * 2)
    assert intervals.ap50["never"] is None


def test_draws_equal_repeated_images():
    predictions, truths = case(9)
    groups = [i // 4 for i in range(len(truths))]
    intervals = ap50_draws(predictions, truths, CLASSES, groups, draws=20, seed=2).intervals()
    values = []
    for row in grouped_bootstrap(6, draws=20, seed=2):
        images = [i for i in range(len(truths)) for _ in range(row[groups[i]])]
        values.append(
            average_precision(
                [predictions[i] for i in images], [truths[i] for i in images], CLASSES
            ).map50
        )
    assert intervals.map50 == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))), abs=1e-9)


def test_no_ground_truth_has_no_interval():
    empty = [Detections.empty(CLASSES)] * 3
    intervals = ap50_draws(empty, empty, CLASSES, "abc").intervals()
    assert intervals.map50 is None
    assert set(intervals.ap50.values()) == {None}


def test_no_images_have_no_interval():
    assert ap50_draws([], [], CLASSES, []).intervals().map50 is None


def test_no_predictions_have_a_zero_interval():
    _, truths = case(1)
    empty = [Detections.empty(CLASSES)] * len(truths)
    assert ap50_draws(empty, truths, CLASSES, range(len(truths))).intervals().map50 == (0.0, 0.0)


def test_different_lengths_raise():
    with pytest.raises(BadPredictionsError, match="got 1, 0 and 0"):
        ap50_draws([Detections.empty()], [], CLASSES, []).intervals()
