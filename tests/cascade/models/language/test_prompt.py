import numpy as np
import pytest
from jsonschema import ValidationError, validate

from cascade import taxonomy
from cascade.models.language import prompt
from cascade.predictions import Detections

ROADWORK = taxonomy.from_labels("roads", ["cone", "worker", "car"], ["cone", "worker"])


def make_detections(*rows):
    """Return detections of rows `label, score, x1, y1, x2, y2`."""
    return Detections(
        boxes_xyxy=np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[1] for row in rows], np.float32),
        class_ids=np.array([ROADWORK.names.index(row[0]) for row in rows], np.int64),
        classes=ROADWORK.names,
    )


WORDS = [
    pytest.param([], "nothing found", id="nothing"),
    pytest.param([("cone", 0.04, 0, 0, 0.1, 0.1)], "nothing found", id="what is no vote"),
    pytest.param([("cone", 0.83, 0, 0, 0.1, 0.1)], "1 cone at left (0.83)", id="one"),
    pytest.param([("cone", 0.5, 0.9, 0, 1, 1)], "1 cone at right (0.50)", id="at the very right"),
    pytest.param(
        [("cone", 0.6, 0, 0, 0.1, 0.1), ("worker", 0.7, 0.4, 0, 0.6, 1),
         ("cone", 0.83, 0.1, 0, 0.2, 0.1)],
        "2 cone at left (0.83), 1 worker in the middle (0.70)",
        id="counted, surest first",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), WORDS)
def test_detections_in_words(rows, expected):
    assert prompt.describe(make_detections(*rows)) == expected


def test_context_precedes_question():
    lines = prompt.user_text(ROADWORK, make_detections(("cone", 0.83, 0, 0, 0.1, 0.1))).splitlines()
    assert lines == ["The detectors say: 1 cone at left (0.83).", ROADWORK.decision.question]


def test_text_without_detections_has_no_context():
    assert prompt.user_text(ROADWORK, None) == ROADWORK.decision.question


def test_instructions_name_classes_and_are_constant():
    assert "cone, worker, car" in prompt.system_text(ROADWORK)


def test_schema_accepts_valid_answers_only():
    schema = prompt.schema(ROADWORK)
    good = {"answer": "yes", "objects": ["cone", "car"], "reason": "Cones."}
    validate(good, schema)
    for bad in (
        {"answer": "maybe"}, {"objects": ["tree"]}, {"reason": "x" * 161}, {"more": 1},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            validate(good | bad, schema)
    assert next(iter(schema["properties"])) == "answer"


def test_uncertain_and_small_boxes_come_first():
    boxes = make_detections(
        ("car", 0.99, 0.0, 0.0, 0.9, 0.9),
        ("cone", 0.50, 0.1, 0.1, 0.12, 0.12),
        ("worker", 0.60, 0.7, 0.7, 0.72, 0.72),
    )
    crops = prompt.select_crops(boxes, 2)
    assert [crop.caption for crop in crops] == [
        "what may be cone at left (0.50)",
        "what may be worker at right (0.60)",
    ]
    assert len(prompt.select_crops(boxes, 9)) == 3


@pytest.mark.parametrize("count", [0, 3])
def test_no_detections_give_no_crops(count):
    assert prompt.select_crops(make_detections(), count) == ()


def test_count_of_zero_gives_no_crops():
    assert prompt.select_crops(make_detections(("cone", 0.5, 0, 0, 0.1, 0.1)), 0) == ()


def test_crop_includes_surroundings_within_image():
    (crop,) = prompt.select_crops(make_detections(("cone", 0.5, 0.0, 0.4, 0.02, 0.6)), 1)
    assert crop.xyxy == pytest.approx((0.0, 0.3, 0.05, 0.7))


def test_box_within_crop_is_skipped():
    boxes = make_detections(
        ("cone", 0.5, 0.40, 0.40, 0.50, 0.50),
        ("cone", 0.4, 0.42, 0.42, 0.52, 0.52),
        ("cone", 0.4, 0.80, 0.80, 0.90, 0.90),
    )
    assert len(prompt.select_crops(boxes, 3)) == 2
