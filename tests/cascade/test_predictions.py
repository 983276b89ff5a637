"""Validation and empty values of predictions."""

import numpy as np
import pytest

from cascade.errors import BadPredictionsError
from cascade.predictions import Answer, DepthMap, Detections, Embedding, Masks

NAN = float("nan")


def detections(**change):
    return Detections(
        **{
            "boxes_xyxy": np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]], np.float32),
            "scores": np.array([0.9, 0.1], np.float32),
            "class_ids": np.array([1, 0]),
            "classes": ("cone", "drum"),
            **change,
        }
    )


def masks(**change):
    return Masks(
        **{
            "masks": np.zeros((2, 3, 4), bool),
            "scores": np.array([0.9, 0.1]),
            "class_ids": np.array([1, 0]),
            "classes": ("cone", "drum"),
            **change,
        }
    )


def boxes(*rows):
    return np.array(rows, np.float32)


DETECTIONS = [
    pytest.param({"boxes_xyxy": np.zeros((2, 5))}, r"boxes_xyxy .* \(2, 4\), got \(2, 5\)", id="5"),
    pytest.param({"boxes_xyxy": np.zeros((3, 4))}, r"scores .* \(3,\), got \(2,\)", id="rows"),
    pytest.param({"scores": np.zeros((2, 1))}, r"scores .* \(2,\), got \(2, 1\)", id="column"),
    pytest.param({"class_ids": np.zeros(1, int)}, r"class_ids .* \(2,\), got \(1,\)", id="ids"),
    pytest.param(
        {"boxes_xyxy": boxes([0, 0, 640, 480], [0, 0, 1, 1])},
        r"boxes_xyxy must be in \[0, 1\], got 0..640",
        id="pixels",
    ),
    pytest.param(
        {"boxes_xyxy": boxes([0, 0, 1, NAN], [0, 0, 1, 1])},
        r"in \[0, 1\], got nan",
        id="NaN corner",
    ),
    pytest.param(
        {"boxes_xyxy": boxes([0.5, 0, 0.4, 1], [0, 0, 1, 1])}, "x1 <= x2", id="right before left"
    ),
    pytest.param(
        {"boxes_xyxy": boxes([0, 0.5, 1, 0.4], [0, 0, 1, 1])}, "y1 <= y2", id="bottom before top"
    ),
    pytest.param({"scores": np.array([0.5, 1.5])}, r"scores .* \[0, 1\], got 0.5..1.5", id="score"),
    pytest.param({"scores": np.array([NAN, 0.5])}, r"scores .* got nan", id="NaN score"),
    pytest.param({"class_ids": np.array([0, 2])}, r"class_ids .* 0\.\.1, got 0\.\.2", id="class"),
    pytest.param({"class_ids": np.array([-1, 0])}, r"class_ids .* got -1\.\.0", id="class -1"),
]


@pytest.mark.parametrize(("change", "message"), DETECTIONS)
def test_inconsistent_detections_raise(change, message):
    with pytest.raises(BadPredictionsError, match=message):
        detections(**change)


def test_float32_overshoot_is_allowed():
    detections(boxes_xyxy=boxes([-5e-5, 0, 1 + 5e-5, 1], [0.5, 0.5, 0.5, 0.5]))


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        pytest.param(np.array([False, True]), ["cone"], id="mask"),
        pytest.param(slice(0, 1), ["drum"], id="slice"),
        pytest.param(np.array([1, 0]), ["cone", "drum"], id="indices in order"),
        pytest.param(np.array([], int), [], id="none"),
    ],
)
def test_detections_getitem(rows, labels):
    selected = detections()[rows]
    assert selected.labels == labels
    assert len(selected) == len(labels)
    assert selected.boxes_xyxy.shape == (len(labels), 4)
    assert selected.classes == ("cone", "drum")


MASKS = [
    pytest.param({"masks": np.zeros((2, 3, 4))}, "boolean of shape", id="not boolean"),
    pytest.param({"masks": np.zeros((2, 3), bool)}, r"\(N, H, W\), got bool of shape", id="flat"),
    pytest.param({"scores": np.zeros(1)}, r"scores must have shape \(2,\)", id="scores"),
    pytest.param({"scores": np.array([2.0, 0])}, r"scores must be in \[0, 1\]", id="range"),
    pytest.param({"class_ids": np.array([0, 2])}, r"class_ids must be in 0\.\.1", id="class"),
]


@pytest.mark.parametrize(("change", "message"), MASKS)
def test_inconsistent_masks_raise(change, message):
    with pytest.raises(BadPredictionsError, match=message):
        masks(**change)


DEPTHS = [
    pytest.param(np.zeros(3), "metres", r"depth must have shape \(H, W\), got \(3,\)", id="flat"),
    pytest.param(np.ones((2, 2)), "feet", "unit must be 'metres' or 'relative'", id="unit"),
    pytest.param(np.array([[1.0, -2.0]]), "metres", "must not be negative, got -2", id="behind"),
]


@pytest.mark.parametrize(("depth", "unit", "message"), DEPTHS)
def test_invalid_depth_raises(depth, unit, message):
    with pytest.raises(BadPredictionsError, match=message):
        DepthMap(depth=depth, unit=unit)


def test_unknown_depth_is_allowed():
    assert DepthMap(depth=np.array([[NAN, 3.0]]), unit="metres").depth.shape == (1, 2)


VECTORS = [
    pytest.param(np.eye(2), r"vector must have shape \(D,\)", id="matrix"),
    pytest.param(np.array([NAN, 1.0]), "must be finite", id="NaN"),
    pytest.param(np.array([3.0, 4.0]), "must have length 1, got 5.0000", id="not normalized"),
    pytest.param(np.zeros(2), "must have length 1, got 0.0000", id="zero vector"),
]


@pytest.mark.parametrize(("vector", "message"), VECTORS)
def test_invalid_embedding_raises(vector, message):
    with pytest.raises(BadPredictionsError, match=message):
        Embedding(vector=vector)


def test_unit_vector_is_valid():
    assert len(Embedding(vector=np.array([0.6, 0.8])).vector) == 2


@pytest.mark.parametrize("p_yes", [-0.1, 1.1, NAN])
def test_answer_out_of_range_raises(p_yes):
    with pytest.raises(BadPredictionsError, match=r"p_yes must be in \[0, 1\]"):
        Answer(p_yes=p_yes)


def test_empty_values():
    assert len(Detections.empty()) == 0
    assert Detections.empty(["cone"]).classes == ("cone",)
    assert Detections.empty().labels == []
    assert len(Masks.empty(["cone"])) == 0
    assert np.isnan(DepthMap.empty().depth).all()
    assert len(Embedding.empty().vector) == 0
    assert Answer.empty().p_yes is None


def test_predictions_are_frozen():
    with pytest.raises(AttributeError, match="cannot assign"):
        detections().scores = np.zeros(2)
