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
        name: one
        members:
          - {name: m, tier: detection, adapter: center_point, license: MIT,
             vocabulary: [cone, vehicle]}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture
def frozen():
    """Four images: a cone, nothing, a cone, a car."""
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
def figures(ensemble, frozen):
    """It finds the first cone, rightly says nothing, fails, and takes the car for a cone."""
    rows = [
        {"m": boxes(("cone", HERE, 0.9))},
        {"m": boxes()},
        {"m": Failure("ImageError", "zero bytes")},
        {"m": boxes(("cone", HERE, 0.8))},
    ]
    return evaluate(rows, ensemble, frozen, LATENCY)


def test_the_set_is_described(figures, ensemble):
    assert figures["ensemble"] == ensemble.identity
    assert (figures["split"], figures["n_images"], figures["n_positive"]) == ("test", 4, 2)
    assert figures["prevalence"] == 0.5
    assert figures["latency_ms"] == LATENCY


def test_decisions_are_counted_by_hand(figures):
    """One of each: hit, rightly no, miss (nobody answered), false alarm."""
    assert (figures["mcc"], figures["precision"], figures["recall"]) == (0.0, 0.5, 0.5)
    assert figures["threshold"] == 0.5


def test_an_image_without_an_answer_has_no_probability(figures):
    samples = figures["samples"]
    assert samples["p"] == [pytest.approx(0.9), 0.02, None, pytest.approx(0.8)]
    assert samples["truth"] == [1, 0, 1, 0]
    assert (samples["id"], samples["drive"]) == (["a", "b", "c", "d"], ["x", "x", "y", "y"])


def test_the_calibration_error_is_of_the_answers_that_there_are(figures):
    assert figures["ece"] == pytest.approx((0.1 + 0.02 + 0.8) / 3, abs=1e-4)


def test_boxes_are_measured_by_class(figures):
    """One of two cones is found first: recall 0.5 at precision 1, 51 of 101 points."""
    by_class = {name: (one["ap50"], one["n"]) for name, one in figures["classes"].items()}
    assert by_class["cone"] == (round(51 / 101, 4), 2)
    assert by_class["vehicle"] == (0.0, 1)
    assert by_class["drum"] == (None, 0)
    assert figures["map50"] == figures["map"] == round(51 / 101 / 2, 4)
    assert figures["members"]["m"]["map50"] == figures["map50"]
    assert figures["members"]["m"]["map"] == figures["map"]


def test_intervals_hold_what_they_are_of(figures):
    for one, key in ((figures, "map50"), (figures["classes"]["cone"], "ap50")):
        lower, upper = one[f"{key}_interval"]
        assert 0 <= lower <= one[key] <= upper <= 1
    assert figures["classes"]["drum"]["ap50_interval"] is None


def test_a_slice_has_figures_of_its_own(figures):
    assert figures["slices"]["weather=rain"] == {
        "n": 2, "n_positive": 1, "mcc": 1.0, "precision": 1.0, "recall": 1.0, "map50": 1.0,
    }  # fmt: skip


def test_which_images_are_in_a_slice_is_kept_for_the_gate(figures):
    assert figures["samples"]["slices"] == {"weather=rain": [1, 1, 0, 0]}


def test_all_of_it_is_json(figures):
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_a_set_of_one_answer_has_no_mcc(ensemble, frozen):
    no = replace(frozen, truths=(boxes(),) * 4)
    figures = evaluate([{"m": boxes()}] * 4, ensemble, no, LATENCY)
    assert (figures["mcc"], figures["recall"], figures["map50"]) == (None, None, None)
    assert figures["prevalence"] == 0


def test_where_nobody_answered_nothing_is_measured_as_right(ensemble, frozen):
    figures = evaluate([{}] * 4, ensemble, frozen, LATENCY)
    assert figures["samples"]["p"] == [None] * 4
    assert figures["ece"] is None
    assert (figures["recall"], figures["map50"]) == (0.0, 0.0)
