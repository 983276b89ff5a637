"""Average precision by hand and against a slow reference."""

import time

import numpy as np
import pytest

from cascade.errors import BadPredictionsError
from cascade.metrics.average_precision import average_precision
from cascade.predictions import Detections

CLASSES = ("cone", "drum")
LEFT = (0.0, 0.0, 0.2, 0.2)
RIGHT = (0.6, 0.6, 0.8, 0.8)


def boxes(*rows, classes=CLASSES):
    """Return detections from `(corners, label, score)`."""
    return Detections(
        boxes_xyxy=np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[2] for row in rows], np.float32),
        class_ids=np.array([classes.index(row[1]) for row in rows], np.int64),
        classes=classes,
    )


ONE_CONE = boxes((LEFT, "cone", 1.0))

ROWS = [
    pytest.param([boxes((LEFT, "cone", 0.4))], [ONE_CONE], 1.0, id="perfect box"),
    pytest.param([boxes()], [ONE_CONE], 0.0, id="no box"),
    pytest.param([boxes((RIGHT, "cone", 0.9))], [ONE_CONE], 0.0, id="box elsewhere"),
    pytest.param([boxes((LEFT, "drum", 0.9))], [ONE_CONE], 0.0, id="wrong class"),
    pytest.param(
        [boxes((RIGHT, "cone", 0.9), (LEFT, "cone", 0.5))],
        [ONE_CONE],
        0.5,
        id="false box ranked first",
    ),
    pytest.param(
        [boxes((LEFT, "cone", 0.9), (RIGHT, "cone", 0.5))],
        [ONE_CONE],
        1.0,
        id="false box ranked last",
    ),
    pytest.param(
        [boxes((LEFT, "cone", 0.9)), boxes()],
        [ONE_CONE, ONE_CONE],
        51 / 101,
        id="one of two detected: recalls 0.00 to 0.50",
    ),
    pytest.param(
        [boxes((LEFT, "cone", 0.9), (LEFT, "cone", 0.8))],
        [boxes((LEFT, "cone", 1.0), (RIGHT, "cone", 1.0))],
        51 / 101,
        id="duplicate box",
    ),
]


@pytest.mark.parametrize(("predicted", "truth", "expected"), ROWS)
def test_ap50_by_hand(predicted, truth, expected):
    result = average_precision(predicted, truth, CLASSES)
    assert result.ap50["cone"] == pytest.approx(expected)
    assert result.map50 == pytest.approx(expected)
    assert result.ap50["drum"] is None


def test_loose_box_counts_below_its_iou():
    loose = boxes(((0.0, 0.0, 0.2, 0.155), "cone", 0.9))  # IoU 0.775: at 0.50, 0.55, … 0.75
    result = average_precision([loose], [ONE_CONE], CLASSES)
    assert result.map50 == 1.0
    assert result.map == pytest.approx(0.6)


def test_class_without_ground_truth_is_excluded_from_means():
    predicted = boxes((LEFT, "cone", 0.9), (RIGHT, "drum", 0.99))
    result = average_precision([predicted], [ONE_CONE], CLASSES)
    assert (result.map, result.map50) == (1.0, 1.0)
    assert dict(result.n) == {"cone": 1, "drum": 0}


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        pytest.param([], [], id="no images"),
        pytest.param([boxes()], [boxes()], id="empty image"),
        pytest.param([boxes((LEFT, "cone", 0.9))], [boxes()], id="predictions on an empty image"),
    ],
)
def test_no_ground_truth_is_undefined(predicted, truth):
    result = average_precision(predicted, truth, CLASSES)
    assert (result.map, result.map50) == (None, None)
    assert dict(result.ap50) == {"cone": None, "drum": None}
    assert dict(result.n) == {"cone": 0, "drum": 0}


def test_labels_are_matched_by_name():
    classes = ("tree", "drum", "cone")
    predicted = boxes((LEFT, "cone", 0.9), (RIGHT, "tree", 0.99), classes=classes)
    truth = boxes((LEFT, "cone", 1.0), (RIGHT, "bus", 1.0), classes=("bus", "cone"))
    result = average_precision([predicted], [truth], CLASSES)
    assert result.map == 1.0
    assert sum(result.n.values()) == 1


def test_different_lengths_raise():
    with pytest.raises(BadPredictionsError, match="same length, got 1 and 0"):
        average_precision([boxes()], [], CLASSES)


def test_average_precision_prints_nothing(capfd):
    average_precision([ONE_CONE], [ONE_CONE], CLASSES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_equals_the_slow_reference(seed):
    predicted, truth = random_images(np.random.default_rng(seed), n_images=12)
    result = average_precision(predicted, truth, CLASSES)
    thresholds = 0.5 + 0.05 * np.arange(10)
    slow = np.array(
        [[slow_ap(predicted, truth, name, iou) for name in CLASSES] for iou in thresholds]
    )
    assert [result.ap50[name] for name in CLASSES] == pytest.approx(slow[0])
    assert result.map50 == pytest.approx(slow[0].mean())
    assert result.map == pytest.approx(slow.mean())


def test_average_precision_is_fast():
    predicted, truth = random_images(np.random.default_rng(0), n_images=200)
    start = time.perf_counter()
    average_precision(predicted, truth, CLASSES)
    assert time.perf_counter() - start < 2.0


def random_images(generator, n_images):
    """Return predictions, jittered true boxes among random ones, and the ground truth."""
    predicted, truth = [], []
    for _ in range(n_images):
        n = int(generator.integers(0, 6))
        low = generator.uniform(0, 0.7, (n, 2))
        true = np.hstack([low, low + generator.uniform(0.05, 0.3, (n, 2))])
        near = true + generator.normal(0, 0.012, true.shape)
        far = generator.uniform(0, 1, (3, 4))
        every = np.clip(np.vstack([near, far]), 0, 1)
        every = np.hstack(
            [np.minimum(every[:, :2], every[:, 2:]), np.maximum(every[:, :2], every[:, 2:])]
        )
        ids = generator.integers(0, 2, n)
        guess = np.where(generator.random(n) < 0.8, ids, 1 - ids)
        truth.append(detections(true, np.ones(n), ids))
        predicted.append(
            detections(
                every, generator.random(n + 3), np.append(guess, generator.integers(0, 2, 3))
            )
        )
    return predicted, truth


def detections(corners, scores, ids):
    return Detections(corners.astype(np.float32), scores.astype(np.float32), ids, CLASSES)


def slow_ap(predicted, truth, name, threshold):
    """Return the area under the interpolated precision, box by box and recall by recall."""
    ranked = [
        (float(boxes.scores[i]), -image, -i)
        for image, boxes in enumerate(predicted)
        for i in range(len(boxes))
        if boxes.labels[i] == name
    ]
    wanted = [[i for i in range(len(t)) if t.labels[i] == name] for t in truth]
    total = sum(map(len, wanted))
    points, hits = [], 0
    for rank, (_, image, i) in enumerate(sorted(ranked, reverse=True), start=1):
        box = predicted[-image].boxes_xyxy[-i]
        overlaps = {j: slow_iou(box, truth[-image].boxes_xyxy[j]) for j in wanted[-image]}
        best = max(overlaps, key=overlaps.get, default=None)
        if best is not None and overlaps[best] >= threshold:
            wanted[-image].remove(best)
            hits += 1
        points.append((hits / total, hits / rank))
    recalls = np.linspace(0, 1, 101)
    return np.mean([max((p for r, p in points if r >= recall), default=0.0) for recall in recalls])


def slow_iou(a, b):
    a, b = a.astype(float), b.astype(float)
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    intersection = width * height
    return intersection / (
        (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    )
