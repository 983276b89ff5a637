"""The whole of a case, and parts of it."""

import numpy as np
import pytest
from adjudication_cases import CAR, CONE, LEFT, RIGHT, case, found

from cascade.adjudication.view import Size, View


def test_every_box_has_a_name_of_its_own():
    boxes = View.of(case()).boxes
    assert [one.id for one in boxes] == ["o1", "o2", "b1", "b2", "b3", "b4"]
    assert [one.by for one in boxes] == ["consensus"] * 2 + ["yolo", "yolo", "detr", "coco"]


def test_sizes_go_with_their_boxes_and_unknown_ones_are_none():
    first, second = View.of(case()).boxes[:2]
    assert (first.label, first.size) == ("cone", Size(10.0, 3.0, 0.5, plausible=False))
    assert (second.label, second.size) == ("car", None)


def test_a_part_speaks_for_the_surest_of_its_deciding_objects():
    objects = found((LEFT, 0.4, CONE), (LEFT, 0.3, CONE), (LEFT, 0.9, CAR), (RIGHT, 0.8, CONE))
    view = View.of(case(objects=objects, sizes=None))
    assert view.within((0.0, 0.0, 0.5, 1.0), "?").p == pytest.approx(0.4)
    assert view.within((0.0, 0.0, 0.05, 0.05), "?").p is None


def test_a_part_asks_another_question_of_the_same_pixels():
    part = View.of(case()).within((0.1, 0.4, 0.2, 0.6), "A cone?")
    assert part.question == "A cone?"
    assert part.image.shape == (20, 20, 3)
    assert (part.image == 255).all()
    assert (part.answers, part.agreement) == ({}, None)


def test_a_part_of_a_part_lies_where_it_should():
    view = View.of(case())
    once = view.within((0.1, 0.4, 0.3, 0.8), "?")
    twice = view.within((0.0, 0.2, 0.5, 1.0), "?").within((0.2, 0.25, 0.6, 0.75), "?")
    assert once.boxes[0].xyxy == pytest.approx(twice.boxes[0].xyxy)
    assert np.array_equal(once.image, twice.image)


def test_a_box_that_leaves_a_part_is_cut_off_at_its_border():
    part = View.of(case()).within((0.12, 0.0, 1.0, 1.0), "?")
    assert part.boxes[0].xyxy[0] == 0.0


def test_without_pixels_a_part_has_none():
    assert View.of(case(image=None)).within((0.0, 0.0, 0.5, 1.0), "?").image is None
