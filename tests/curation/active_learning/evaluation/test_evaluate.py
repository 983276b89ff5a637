import json
from dataclasses import replace

import numpy as np
import pytest

from cascade import manifest, taxonomy
from cascade.ensemble import Ensemble
from cascade.predictions import Detections, Failure
from curation.active_learning.evaluation.evaluate import evaluate
from curation.active_learning.evaluation.frozen_set import FrozenSet

ROADWORK = taxonomy.load("roadwork")
HERE = (0.1, 0.1, 0.3, 0.5)
THERE = (0.6, 0.2, 0.9, 0.6)
LATENCY = {"mean": 10.0, "p50": 9.0, "p99": 20.0, "n": 4}


def boxes(*rows):
    """Return boxes from rows of (label, box, score)."""
    return Detections(
        boxes_xyxy=np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[2] for row in rows], np.float32),
        class_ids=np.array([ROADWORK.names.index(row[0]) for row in rows], np.int64),
        classes=ROADWORK.names,
    )


@pytest.fixture
def ensemble():
    text = """
        name: test
        members:
          - {name: m, tier: detection, adapter: center_point, license: MIT,
             vocabulary: [cone, vehicle]}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture
def frozen():
    """Four images: a cone, no object, a cone, a car."""
    return FrozenSet(
        split="test",
        ids=("a", "b", "c", "d"),
        paths=("/a", "/b", "/c", "/d"),
        drives=("x", "x", "y", "y"),
        sizes_px=np.array([[400, 600]] * 4),
        truths=(
            boxes(("cone", HERE, 1)),
            boxes(),
            boxes(("cone", HERE, 1)),
            boxes(("vehicle", THERE, 1)),
        ),
        slices={"weather=rain": np.array([True, True, False, False])},
    )


@pytest.fixture
def metrics(ensemble, frozen):
    """Metrics of a hit, a correct rejection, a failure and a false alarm."""
    rows = [
        {"m": boxes(("cone", HERE, 0.9))},
        {"m": boxes()},
        {"m": Failure("ImageError", "zero bytes")},
        {"m": boxes(("cone", HERE, 0.8))},
    ]
    return evaluate(rows, ensemble, frozen, LATENCY)


def test_evaluation_describes_frozen_set(metrics, ensemble):
    assert metrics["ensemble"] == ensemble.identity
    assert (metrics["split"], metrics["n_images"], metrics["n_positive"]) == ("test", 4, 2)
    assert metrics["prevalence"] == 0.5
    assert metrics["latency_ms"] == LATENCY


def test_decision_metrics_match_manual_counts(metrics):
    """One each of hit, correct rejection, miss (no votes), false alarm."""
    assert (metrics["mcc"], metrics["precision"], metrics["recall"]) == (0.0, 0.5, 0.5)
    assert metrics["threshold"] == 0.5


def test_image_without_votes_has_no_probability(metrics):
    samples = metrics["samples"]
    assert samples["p"] == [pytest.approx(0.9), 0.02, None, pytest.approx(0.8)]
    assert samples["truth"] == [1, 0, 1, 0]
    assert (samples["id"], samples["drive"]) == (["a", "b", "c", "d"], ["x", "x", "y", "y"])


def test_calibration_error_ignores_images_without_votes(metrics):
    assert metrics["ece"] == pytest.approx((0.1 + 0.02 + 0.8) / 3, abs=1e-4)


def test_average_precision_is_reported_per_class(metrics):
    """The first box hits one of two cones: recall 0.5 at precision 1, 51 of 101 points."""
    by_class = {name: (row["ap50"], row["n"]) for name, row in metrics["classes"].items()}
    assert by_class["cone"] == (round(51 / 101, 4), 2)
    assert by_class["vehicle"] == (0.0, 1)
    assert by_class["drum"] == (None, 0)
    assert metrics["map50"] == metrics["map"] == round(51 / 101 / 2, 4)
    assert metrics["members"]["m"]["map50"] == metrics["map50"]
    assert metrics["members"]["m"]["map"] == metrics["map"]


def test_intervals_contain_their_metric(metrics):
    for row, key in ((metrics, "map50"), (metrics["classes"]["cone"], "ap50")):
        lower, upper = row[f"{key}_interval"]
        assert 0 <= lower <= row[key] <= upper <= 1
    assert metrics["classes"]["drum"]["ap50_interval"] is None


def test_slice_has_separate_metrics(metrics):
    assert metrics["slices"]["weather=rain"] == {
        "n": 2, "n_positive": 1, "mcc": 1.0, "precision": 1.0, "recall": 1.0, "map50": 1.0,
    }  # fmt: skip


def test_slice_membership_is_stored_for_gate(metrics):
    assert metrics["samples"]["slices"] == {"weather=rain": [1, 1, 0, 0]}


def test_evaluation_is_valid_json(metrics):
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_set_with_single_answer_has_no_mcc(ensemble, frozen):
    no = replace(frozen, truths=(boxes(),) * 4)
    metrics = evaluate([{"m": boxes()}] * 4, ensemble, no, LATENCY)
    assert (metrics["mcc"], metrics["recall"], metrics["map50"]) == (None, None, None)
    assert metrics["prevalence"] == 0


def test_no_predictions_give_zero_recall(ensemble, frozen):
    metrics = evaluate([{}] * 4, ensemble, frozen, LATENCY)
    assert metrics["samples"]["p"] == [None] * 4
    assert metrics["ece"] is None
    assert (metrics["recall"], metrics["map50"]) == (0.0, 0.0)
