"""Overlap, suppression and matching of boxes, by hand and against loops."""

import numpy as np
import pytest

from cascade.geometry import boxes

UNIT = [0.0, 0.0, 1.0, 1.0]

PAIRS = [
    pytest.param(UNIT, UNIT, 1.0, id="a box overlaps itself wholly"),
    pytest.param(UNIT, [0.5, 0.0, 1.5, 1.0], 1 / 3, id="half shifted: 0.5 of 1.5"),
    pytest.param(UNIT, [0.0, 0.0, 0.5, 0.5], 0.25, id="a quarter inside"),
    pytest.param(UNIT, [1.0, 0.0, 2.0, 1.0], 0.0, id="boxes that only touch do not overlap"),
    pytest.param(UNIT, [2.0, 2.0, 3.0, 3.0], 0.0, id="boxes apart in both directions"),
    pytest.param(UNIT, [0.5, 0.5, 0.5, 0.5], 0.0, id="a point overlaps nothing"),
    pytest.param([0.2] * 4, [0.2] * 4, 0.0, id="not even a point itself"),
]


@pytest.mark.parametrize(("a", "b", "expected"), PAIRS)
def test_iou_by_hand(a, b, expected):
    assert boxes.iou(np.array([a]), np.array([b])) == pytest.approx(np.array([[expected]]))
    assert boxes.iou(np.array([b]), np.array([a])) == pytest.approx(np.array([[expected]]))


@pytest.mark.parametrize(("a", "b"), [(0, 3), (3, 0), (0, 0)])
def test_iou_of_no_boxes_has_the_shape_of_none(a, b):
    assert boxes.iou(np.zeros((a, 4)), np.zeros((b, 4))).shape == (a, b)


def test_areas_by_hand():
    rows = np.array([UNIT, [0.1, 0.2, 0.3, 0.7], [0.5, 0.5, 0.5, 0.9], [0.6, 0.6, 0.5, 0.5]])
    assert boxes.areas(rows) == pytest.approx([1.0, 0.1, 0.0, 0.0])


LEADERS = [
    pytest.param([[1, 1], [1, 1]], [1, 0], id="the first takes the second out"),
    pytest.param([[1, 0], [0, 1]], [1, 1], id="strangers both lead"),
    pytest.param([[1, 1, 0], [1, 1, 1], [0, 1, 1]], [1, 0, 1], id="what is taken takes nobody out"),
    pytest.param([[1, 0], [1, 1]], [1, 1], id="a later row cannot take an earlier one out"),
    pytest.param(np.zeros((0, 0)), [], id="nobody, no leader"),
]


@pytest.mark.parametrize(("covers", "expected"), LEADERS)
def test_leaders_by_hand(covers, expected):
    assert boxes.greedy_suppression(np.array(covers, bool)).tolist() == [
        bool(one) for one in expected
    ]


MATCHES = [
    pytest.param([[0.9, 0.6]], [0], id="the best column"),
    pytest.param([[0.6, 0.9], [0.5, 0.8]], [1, 0], id="a column goes to the surest row once"),
    pytest.param([[0.9], [0.95]], [0, -1], id="the surest row chooses first, not the nearest"),
    pytest.param([[0.5]], [0], id="just enough"),
    pytest.param([[0.499]], [-1], id="not quite enough"),
    pytest.param([[0.7, 0.7]], [0], id="the first of equals"),
    pytest.param(np.zeros((2, 0)), [-1, -1], id="no columns"),
    pytest.param(np.zeros((0, 2)), [], id="no rows"),
]


@pytest.mark.parametrize(("overlaps", "expected"), MATCHES)
def test_match_by_hand(overlaps, expected):
    assert boxes.match(np.asarray(overlaps, float), least=0.5).tolist() == expected
