"""Boxes between conventions: hand-made numbers, and there and back to the bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cascade.predictions import Detections
from curation.storage import conversions

# x1, y1, x2, y2 of an image 200 px wide and 100 px high
CORNERS = [[0.25, 0.5, 0.75, 1.0]]
CASES = [
    pytest.param(conversions.xyxy_to_xywh, [[0.25, 0.5, 0.5, 0.5]], id="FiftyOne: corner and size"),
    pytest.param(conversions.xyxy_to_cxcywh, [[0.5, 0.75, 0.5, 0.5]], id="YOLO: centre and size"),
    pytest.param(conversions.to_percent, [[25, 50, 75, 100]], id="percent of the sides"),
    pytest.param(
        lambda b: conversions.to_pixels(b, (100, 200)),
        [[50, 50, 150, 100]],
        id="pixels: x by width",
    ),
]

relative = st.integers(0, 2**24).map(lambda k: k / 2**24)  # float32's grid below 1
corners = arrays(np.float32, (3, 4), elements=relative).map(
    lambda b: np.concatenate([np.minimum(b[:, :2], b[:, 2:]), np.maximum(b[:, :2], b[:, 2:])], 1)
)


@pytest.mark.parametrize(("there", "expected"), CASES)
def test_each_convention_by_hand(there, expected):
    assert there(np.array(CORNERS)).tolist() == expected


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (conversions.xyxy_to_xywh, conversions.xywh_to_xyxy),
        (conversions.xyxy_to_cxcywh, conversions.cxcywh_to_xyxy),
        (conversions.to_percent, conversions.from_percent),
        (
            lambda b: conversions.to_pixels(b, (722, 406)),
            lambda b: conversions.from_pixels(b, (722, 406)),
        ),
    ],
    ids=["xywh", "cxcywh", "percent", "pixels"],
)
@given(boxes=corners)
def test_there_and_back_is_exact_to_the_bit(there, back, boxes):
    assert (back(there(boxes)).astype(np.float32) == boxes).all()


@given(boxes=corners, scores=arrays(np.float32, 3, elements=relative))
def test_raw_documents_there_and_back_are_exact(boxes, scores):
    before = Detections(boxes, scores, np.array([0, 1, 0]), ("cone", "drum"))
    raw = conversions.raw_detections(before, scored=True)
    after, dropped = conversions.from_raw(raw, before.classes, {"cone": "cone", "drum": "drum"})
    assert not dropped
    assert (after.boxes_xyxy == before.boxes_xyxy).all()
    assert (after.scores == before.scores).all()
    assert after.labels == before.labels


def test_raw_documents_hold_python_numbers_only():
    found = Detections(
        np.array(CORNERS, np.float32), np.array([0.5], np.float32), np.array([0]), ("cone",)
    )
    box = conversions.raw_detections(found, scored=True)["detections"][0]
    assert [type(one) for one in box["bounding_box"]] == [float] * 4
    assert type(box["confidence"]) is float
    assert "confidence" not in conversions.raw_detections(found, scored=False)["detections"][0]


def test_labels_that_mean_no_class_are_dropped_and_counted():
    raw = {
        "detections": [
            conversions.raw_detection("Cone", [0, 0, 0.5, 0.5]),
            conversions.raw_detection("plant", [0, 0, 0.5, 0.5]),
        ]
    }
    found, dropped = conversions.from_raw(raw, ("cone",), {"Cone": "cone", "plant": None})
    assert found.labels == ["cone"]
    assert found.scores.tolist() == [1.0]
    assert dropped == {"plant": 1}


def test_boxes_that_stick_out_are_cut_off():
    assert conversions.inside(np.array([[-0.1, 0.2, 1.1, 0.3]])).tolist() == [[0, 0.2, 1, 0.3]]


def test_label_objects_there_and_back(database):
    before = Detections(
        np.array(CORNERS, np.float32), np.array([0.5], np.float32), np.array([1]), ("cone", "drum")
    )
    after = conversions.from_label(conversions.to_label(before), before.classes)
    assert (after.boxes_xyxy == before.boxes_xyxy).all()
    assert after.labels == ["drum"]
    assert len(conversions.from_label(conversions.to_label(before), ("cone",))) == 0


def test_no_boxes_stay_no_boxes():
    nothing = conversions.raw_detections(Detections.empty(("cone",)), scored=True)
    assert nothing == {"_cls": "Detections", "detections": []}
    assert len(conversions.from_raw(nothing, ("cone",), {})[0]) == 0
