"""Detector head: selection of boxes, targets and weight transfer, by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from cascade.checkpoints import checkpoint
from cascade.errors import BadPredictionsError, CheckpointError
from cascade.models.detection import detector_head
from cascade.predictions import Detections

CLASSES = ("cone", "drum")
CPU = torch.device("cpu")


def unpacked(boxes, scores, class_ids, nms_iou=0.6):
    return detector_head.to_detections(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(scores),
        torch.tensor(class_ids, dtype=torch.int64),
        CLASSES,
        nms_iou=nms_iou,
    )


LEFT, SHIFTED, RIGHT = [0.1, 0.1, 0.3, 0.5], [0.11, 0.1, 0.31, 0.5], [0.6, 0.1, 0.8, 0.5]


@pytest.mark.parametrize(
    ("boxes", "scores", "class_ids", "nms_iou", "expected_scores"),
    [
        pytest.param([LEFT, RIGHT], [0.2, 0.9], [0, 0], 0.6, [0.9, 0.2], id="surest first"),
        pytest.param([LEFT, SHIFTED], [0.2, 0.9], [0, 0], 0.6, [0.9], id="doubles are one"),
        pytest.param([LEFT, SHIFTED], [0.2, 0.9], [0, 1], 0.6, [0.9, 0.2], id="unless of classes"),
        pytest.param([LEFT, SHIFTED], [0.2, 0.9], [0, 0], None, [0.9, 0.2], id="unless not asked"),
        pytest.param([LEFT, RIGHT], [0.009, 0.9], [0, 0], 0.6, [0.9], id="least score"),
        pytest.param([LEFT, RIGHT], [float("nan"), 0.9], [0, 0], 0.6, [0.9], id="NaN is no score"),
        pytest.param([], [], [], 0.6, [], id="nothing"),
    ],
)
def test_selected_boxes(boxes, scores, class_ids, nms_iou, expected_scores):
    predictions = unpacked(boxes, scores, class_ids, nms_iou)
    assert predictions.scores.tolist() == pytest.approx(expected_scores)
    assert predictions.classes == CLASSES


def test_boxes_are_clipped_to_image():
    predictions = unpacked([[-0.5, 0.2, 1.5, 0.1]], [0.5], [1])
    assert predictions.boxes_xyxy[0].tolist() == pytest.approx([0.0, 0.2, 1.0, 0.2])


def test_at_most_hundred_boxes_are_returned():
    corners = torch.rand(300, 2).sort(dim=0).values * 0.5
    boxes = torch.cat([corners, corners + 0.001], dim=1)
    predictions = detector_head.to_detections(
        boxes, torch.rand(300) + 0.1, torch.zeros(300), CLASSES, nms_iou=None
    )
    assert len(predictions) == 100


def truth(boxes, class_ids, classes=CLASSES):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(len(class_ids), np.float32),
        np.array(class_ids, np.int64),
        classes,
    )


def test_targets_are_concatenated():
    targets = [truth([LEFT, RIGHT], [1, 0]), truth([], []), truth([LEFT], [0])]
    image, class_ids, boxes = detector_head.flatten_targets(targets, CLASSES, CPU)
    assert image.tolist() == [0, 0, 2]
    assert class_ids.tolist() == [1, 0, 0]
    assert boxes.shape == (3, 4)


def test_targets_with_other_classes_are_refused():
    with pytest.raises(BadPredictionsError, match=r"\['cone', 'drum'\], got \['drum', 'cone'\]"):
        detector_head.flatten_targets([truth([], [], ("drum", "cone"))], CLASSES, CPU)


class Head(nn.Module):
    """A body, class rows, and an embedding with a padding row after the classes."""

    def __init__(self, classes, value, width=3):
        super().__init__()
        self.body = nn.Linear(2, width)
        self.rows = nn.Linear(width, classes)
        self.embedding = nn.Embedding(classes + 1, 2)
        for i, parameter in enumerate(self.parameters()):
            offsets = torch.arange(parameter.numel()).reshape(parameter.shape).float() / 100
            parameter.data = value + i + offsets


def carried(old_classes, new_classes, meaning=None, width=3):
    old, new = Head(len(old_classes), 0), Head(len(new_classes), 1000, width)
    detector_head.transfer_weights(
        old,
        new,
        is_class_tensor={"rows.weight", "rows.bias", "embedding.weight"}.__contains__,
        old_classes=old_classes,
        new_classes=new_classes,
        meaning=meaning,
    )
    return checkpoint.state(old), checkpoint.state(new)


def test_class_rows_follow_their_class():
    old, new = carried(("cone", "drum"), ("sign", "Cone"))
    assert torch.equal(new["body.weight"], old["body.weight"])
    assert torch.equal(new["rows.weight"][1], old["rows.weight"][0])
    assert (new["rows.weight"][0] >= 1000).all()
    assert torch.equal(new["embedding.weight"][1:], old["embedding.weight"][[0, 2]])


def test_meaning_maps_old_names_to_new_classes():
    words = {"Safety Cone": "cone", "barrel": "drum"}
    old, new = carried(("barrel", "Safety Cone"), ("cone", "drum"), meaning=words.get)
    assert torch.equal(new["rows.bias"], old["rows.bias"][[1, 0]])


def test_tensors_of_other_shape_keep_initialization():
    _, new = carried(("cone",), ("cone",), width=5)
    assert (new["rows.weight"] >= 1000).all()
    assert (new["body.weight"] >= 1000).all()


def test_foreign_checkpoint_is_refused(tmp_path):
    checkpoint.save(tmp_path / "a", {"adapter": "yolo"}, {})
    with pytest.raises(CheckpointError, match="of the adapter 'yolo', expected 'rt_detr'"):
        detector_head.open_checkpoint(tmp_path / "a", adapter="rt_detr", keys=())
    with pytest.raises(CheckpointError, match="has no 'size'"):
        detector_head.open_checkpoint(tmp_path / "a", adapter="yolo", keys=("size",))
