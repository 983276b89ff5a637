"""Layouts of exported detectors, by hand; on files: test_onnx_detection, test_litert_detection."""

import numpy as np
import pytest
import torch

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.exported import coco_classes, layouts

CLASSES = ("cone", "drum", "sign")


def test_yolox_boxes_are_relative_to_cell():
    """By hand: the cell in column 3 and row 1 of stride 16, in a view of 64 pixels."""
    cells = torch.zeros(1, 64 + 16 + 4, 4)
    cells[0, 64 + 1 * 4 + 3] = torch.tensor([0.5, 0.25, np.log(2.0), np.log(0.5)])
    corners = layouts.corners_of_cells(cells, 64)[0, 64 + 1 * 4 + 3]
    # center (3.5 * 16, 1.25 * 16) = (56, 20), sides (32, 8)
    assert corners.tolist() == pytest.approx([40, 16, 72, 24])


def test_yolox_scores_are_objectness_times_class_score():
    image = np.zeros((64, 64, 3), np.uint8)
    cells = torch.zeros(1, 64 + 16 + 4, 8)
    cells[0, 64 + 1 * 4 + 3] = torch.tensor([0.5, 0.25, np.log(2.0), np.log(0.5), 0.5, 0, 0.8, 0])
    (detections,) = layouts.decode_grid(cells, Batch(("a",), (image,)), 64, "yolox", CLASSES)
    assert detections.labels == ["drum"]
    assert detections.scores == pytest.approx([0.4])
    assert detections.boxes_xyxy[0] == pytest.approx([40 / 64, 16 / 64, 1, 24 / 64])


def test_classes_are_list_or_predefined_name():
    assert layouts.class_names(["a", "b"]) == ("a", "b")
    assert layouts.class_names("coco") == coco_classes.NAMES
    with pytest.raises(CheckpointError, match="Did you mean 'coco'"):
        layouts.class_names("cocoa")


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 7, 64), "yolox"), ((1, 8, 64), "yolo"), ((7, 64), "yolo"), ((1, 64, 7), "yolo")],
)
def test_other_shape_is_refused(shape, layout, tmp_path):
    with pytest.raises(CheckpointError, match=rf"{tmp_path}.* 3 classes .*has the shape"):
        layouts.check_grid(shape, layout, 3, origin=tmp_path)
    layouts.check_grid((1, 7, 64) if layout == "yolo" else (1, 64, 8), layout, 3, origin=tmp_path)
