"""Raw documents, without a database."""

import numpy as np
import pytest

from cascade import taxonomy
from cascade.predictions import Detections, Failure
from curation.storage import documents

ROADWORK = taxonomy.load("roadwork")


FAILURE = Failure("ImageError", "zero bytes")


def detections(*rows, classes=("cone", "tree")):
    table = np.array(rows, np.float64).reshape(-1, 2)
    return Detections(
        boxes_xyxy=np.tile(np.array([[0, 0, 0.5, 0.5]], np.float32), (len(table), 1)),
        scores=table[:, 1].astype(np.float32),
        class_ids=table[:, 0].astype(np.int64),
        classes=classes,
    )


def test_boxes_of_member_are_calibrated_in_single_call():
    calls = []

    def halve(member, names, scores):
        calls.append((member, list(names), scores.tolist()))
        return scores / 2

    fields, n_boxes, dropped = documents.member_fields(
        {"x": detections((0, 0.5)), "y": detections(), "z": detections((1, 0.9), (0, 0.25))},
        member="m", fingerprint="f", taxonomy=ROADWORK, calibrate=halve,
    )  # fmt: skip
    assert calls == [("m", ["cone", "cone"], [0.5, 0.25])]
    assert [[box["confidence"] for box in fields[i]["detections"]] for i in "xyz"] == [
        [0.25], [], [0.125],
    ]  # fmt: skip
    assert fields["y"] == {"_cls": "Detections", "detections": [], "fingerprint": "f"}
    assert (n_boxes, dropped) == (2, {"tree": 1})


def test_no_samples():
    fields, n_boxes, dropped = documents.member_fields(
        {}, member="m", fingerprint="f", taxonomy=ROADWORK, calibrate=lambda *_: np.zeros(0)
    )
    assert (fields, n_boxes, dropped) == ({}, 0, {})


OLD = {"stage": "predict", "member": "a", "error": "OldError", "message": "before"}


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param({}, ["OldError"], id="a member that did not run keeps its failure"),
        pytest.param({"a": None}, [], id="success removes it"),
        pytest.param({"a": FAILURE}, ["ImageError"], id="a new failure replaces it"),
        pytest.param(
            {"b": FAILURE}, ["OldError", "ImageError"], id="failure of other member is added"
        ),
    ],
)
def test_failures_are_merged_by_stage_and_member(outcomes, expected):
    merged = documents.merged_failures([OLD], stage="predict", outcomes=outcomes)
    assert [failure["error"] for failure in merged] == expected


def test_failures_of_other_stage_stay():
    merged = documents.merged_failures([OLD], stage="embed", outcomes={"a": None})
    assert merged == [OLD]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (float("nan"), None),
        (np.float64("nan"), None),
        (np.array([1, 2]), [1, 2]),
        (None, None),
        ("text", "text"),
    ],
    ids=repr,
)
def test_values_become_storable(value, stored):
    result = documents.to_storable(value)
    assert result == stored
    assert type(result) is type(stored)
