import numpy as np
import pytest

from cascade.errors import BadPredictionsError
from cascade.metrics.average_precision import average_precision
from cascade.metrics.bootstrap import ap50_intervals
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
    """Return truths, and predictions that are the truths shaken, with some lost and some new."""
    generator = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(n):
        truth = scene(generator, generator.integers(0, 5))
        kept = truth[generator.random(len(truth)) < 0.8]
        new = scene(generator, generator.integers(0, 3))
        shaken = np.clip(kept.boxes_xyxy + generator.normal(0, 0.01, (len(kept), 4)), 0, 1)
        corners = np.concatenate([shaken.reshape(-1, 2, 2), new.boxes_xyxy.reshape(-1, 2, 2)])
        predictions.append(
            Detections(
                boxes_xyxy=np.sort(corners, axis=1).reshape(-1, 4),
                scores=generator.random(len(corners)),
                class_ids=np.concatenate([kept.class_ids, new.class_ids]),
                classes=CLASSES,
            )
        )
        truths.append(truth)
    return predictions, truths


@pytest.mark.parametrize("seed", range(5))
def test_one_drive_is_the_figure_itself(seed):
    predictions, truths = case(seed)
    found = ap50_intervals(predictions, truths, CLASSES, ["one"] * len(truths), draws=3)
    reference = average_precision(predictions, truths, CLASSES)
    assert found.map50 == pytest.approx((reference.map50, reference.map50))
    for name in CLASSES[:2]:
        assert found.ap50[name] == pytest.approx((reference.ap50[name],) * 2)
    assert found.ap50["never"] is None


def test_draws_agree_with_repeating_images():
    predictions, truths = case(9)
    groups = [i // 4 for i in range(len(truths))]
    found = ap50_intervals(predictions, truths, CLASSES, groups, draws=20, seed=2)
    values = []
    for row in grouped_bootstrap(6, draws=20, seed=2):
        images = [i for i in range(len(truths)) for _ in range(row[groups[i]])]
        values.append(
            average_precision(
                [predictions[i] for i in images], [truths[i] for i in images], CLASSES
            ).map50
        )
    assert found.map50 == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))), abs=1e-9)


def test_nothing_to_find_has_no_interval():
    empty = [Detections.empty(CLASSES)] * 3
    found = ap50_intervals(empty, empty, CLASSES, "abc")
    assert found.map50 is None
    assert set(found.ap50.values()) == {None}


def test_no_images_have_no_interval():
    assert ap50_intervals([], [], CLASSES, []).map50 is None


def test_nothing_found_is_surely_nothing():
    _, truths = case(1)
    empty = [Detections.empty(CLASSES)] * len(truths)
    assert ap50_intervals(empty, truths, CLASSES, range(len(truths))).map50 == (0.0, 0.0)


def test_other_images_are_refused():
    with pytest.raises(BadPredictionsError, match="got 1, 0 and 0"):
        ap50_intervals([Detections.empty()], [], CLASSES, [])
