import pytest
import torch

from cascade.imaging.letterbox import Inset
from cascade.models.detection.nms import class_wise_nms

CLASSES = ("cone", "drum")
LANDSCAPE = Inset(left=0, top=16, width=64, height=32)  # in a square of 64


def survivors(*cells, place=LANDSCAPE):
    """Return the surviving boxes of cells (x1, y1, x2, y2, cone, drum) of one image."""
    rows = torch.tensor(cells).reshape(1, -1, 6)
    (detections,) = class_wise_nms(rows[..., :4], rows[..., 4:], [place], CLASSES)
    return detections


def test_best_of_overlapping_boxes_of_class_survives():
    left = survivors(
        (10.0, 20, 30, 40, 0.6, 0),
        (10.0, 20, 30, 39, 0.9, 0),
        (10.0, 20, 30, 40, 0, 0.7),
        (40.0, 20, 60, 40, 0.3, 0),
    )
    assert left.labels == ["cone", "drum", "cone"]
    assert left.scores == pytest.approx([0.9, 0.7, 0.3])


def test_box_within_border_is_dropped():
    left = survivors(
        (10.0, 2, 30, 10, 0.9, 0),
        (10.0, 50, 30, 60, 0.8, 0),
        (10.0, 10, 30, 16, 0.7, 0),  # ends at the image's edge
        (10.0, 10, 30, 24, 0.6, 0),
    )
    assert left.scores == pytest.approx([0.6])
    assert left.boxes_xyxy[0] == pytest.approx([10 / 64, 0, 30 / 64, 8 / 32])


def test_boxes_without_area_are_dropped():
    left = survivors(
        (10.0, 20, 10, 40, 0.9, 0), (30.0, 30, 20, 20, 0.8, 0), (10.0, 20, 11, 40, 0.7, 0)
    )
    assert left.scores == pytest.approx([0.7])


def test_box_within_border_at_side_is_dropped():
    portrait = Inset(left=16, top=0, width=32, height=64)
    left = survivors((2.0, 10, 12, 30, 0.9, 0), (52.0, 10, 60, 30, 0, 0.8), place=portrait)
    assert len(left) == 0
    assert left.classes == CLASSES


def test_box_within_border_does_not_suppress_other_class():
    left = survivors((10.0, 10, 30, 15, 0.9, 0), (10.0, 10, 30, 20, 0, 0.8))
    assert left.labels == ["drum"]


def test_boxes_below_one_hundredth_are_dropped():
    assert survivors((10.0, 20, 30, 40, 0.0099, 0), (40.0, 20, 60, 40, 0.0101, 0)).scores == (
        pytest.approx([0.0101])
    )
