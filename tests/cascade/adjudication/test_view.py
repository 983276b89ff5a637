"""Views of a case and of regions."""

import numpy as np
import pytest
from adjudication_cases import CAR, CONE, LEFT, RIGHT, case, detections

from cascade.adjudication.view import Size, View


def test_boxes_have_unique_names():
    boxes = View.from_case(case()).boxes
    assert [box.id for box in boxes] == ["o1", "o2", "b1", "b2", "b3", "b4"]
    assert [box.source for box in boxes] == ["consensus"] * 2 + ["yolo", "yolo", "detr", "coco"]


def test_boxes_keep_sizes_and_unknown_size_is_none():
    first, second = View.from_case(case()).boxes[:2]
    assert (first.label, first.size) == ("cone", Size(10.0, 3.0, 0.5, plausible=False))
    assert (second.label, second.size) == ("car", None)


def test_region_has_probability_of_best_deciding_object():
    objects = detections((LEFT, 0.4, CONE), (LEFT, 0.3, CONE), (LEFT, 0.9, CAR), (RIGHT, 0.8, CONE))
    view = View.from_case(case(objects=objects, sizes=None))
    assert view.within((0.0, 0.0, 0.5, 1.0), "?").p == pytest.approx(0.4)
    assert view.within((0.0, 0.0, 0.05, 0.05), "?").p is None


def test_region_has_its_question_and_pixels():
    part = View.from_case(case()).within((0.1, 0.4, 0.2, 0.6), "A cone?")
    assert part.question == "A cone?"
    assert part.image.shape == (20, 20, 3)
    assert (part.image == 255).all()
    assert (part.answers, part.agreement) == ({}, None)


def test_nested_regions_compose():
    view = View.from_case(case())
    direct = view.within((0.1, 0.4, 0.3, 0.8), "?")
    nested = view.within((0.0, 0.2, 0.5, 1.0), "?").within((0.2, 0.25, 0.6, 0.75), "?")
    assert direct.boxes[0].xyxy == pytest.approx(nested.boxes[0].xyxy)
    assert np.array_equal(direct.image, nested.image)


def test_box_is_clipped_to_region():
    part = View.from_case(case()).within((0.12, 0.0, 1.0, 1.0), "?")
    assert part.boxes[0].xyxy[0] == 0.0


def test_region_of_view_without_image_has_no_image():
    assert View.from_case(case(image=None)).within((0.0, 0.0, 0.5, 1.0), "?").image is None
