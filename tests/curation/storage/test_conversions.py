"""Box conventions: known boxes, and exact round trips."""

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
    pytest.param(conversions.xyxy_to_cxcywh, [[0.5, 0.75, 0.5, 0.5]], id="YOLO: center and size"),
    pytest.param(conversions.to_percent, [[25, 50, 75, 100]], id="percent"),
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


@pytest.mark.parametrize(("convert", "expected"), CASES)
def test_conventions_of_known_box(convert, expected):
    assert convert(np.array(CORNERS)).tolist() == expected


@pytest.mark.parametrize(
    ("convert", "restore"),
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
def test_conventions_round_trip_exactly(convert, restore, boxes):
    assert (restore(convert(boxes)).astype(np.float32) == boxes).all()


@given(boxes=corners, scores=arrays(np.float32, 3, elements=relative))
def test_raw_documents_round_trip_exactly(boxes, scores):
    before = Detections(boxes, scores, np.array([0, 1, 0]), ("cone", "drum"))
    raw = conversions.raw_detections(before, scored=True)
    after, dropped = conversions.from_raw(raw, before.classes, {"cone": "cone", "drum": "drum"})
    assert not dropped
    assert (after.boxes_xyxy == before.boxes_xyxy).all()
    assert (after.scores == before.scores).all()
    assert after.labels == before.labels


def test_raw_documents_have_python_numbers():
    result = Detections(
        np.array(CORNERS, np.float32), np.array([0.5], np.float32), np.array([0]), ("cone",)
    )
    box = conversions.raw_detections(result, scored=True)["detections"][0]
    assert [type(value) for value in box["bounding_box"]] == [float] * 4
    assert type(box["confidence"]) is float
    assert "confidence" not in conversions.raw_detections(result, scored=False)["detections"][0]


def test_unknown_labels_are_dropped_and_counted():
    raw = {
        "detections": [
            conversions.raw_detection("Cone", [0, 0, 0.5, 0.5]),
            conversions.raw_detection("plant", [0, 0, 0.5, 0.5]),
        ]
    }
    result, dropped = conversions.from_raw(raw, ("cone",), {"Cone": "cone", "plant": None})
    assert result.labels == ["cone"]
    assert result.scores.tolist() == [1.0]
    assert dropped == {"plant": 1}


def test_boxes_are_clipped_to_image():
    assert conversions.inside(np.array([[-0.1, 0.2, 1.1, 0.3]])).tolist() == [[0, 0.2, 1, 0.3]]


def test_label_objects_round_trip(database):
    before = Detections(
        np.array(CORNERS, np.float32), np.array([0.5], np.float32), np.array([1]), ("cone", "drum")
    )
    raw = conversions.to_label(before).to_dict()
    after, _ = conversions.from_raw(raw, before.classes, {"drum": "drum"})
    assert (after.boxes_xyxy == before.boxes_xyxy).all()
    assert after.labels == ["drum"]
    assert len(conversions.from_raw(raw, ("cone",), {"drum": None})[0]) == 0


def test_empty_detections_round_trip():
    raw = conversions.raw_detections(Detections.empty(("cone",)), scored=True)
    assert raw == {"_cls": "Detections", "detections": []}
    assert len(conversions.from_raw(raw, ("cone",), {})[0]) == 0
