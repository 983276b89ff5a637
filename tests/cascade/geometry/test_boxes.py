"""Overlap, suppression and matching of boxes, by hand and against loops."""

import numpy as np
import pytest

from cascade.geometry import boxes

UNIT = [0.0, 0.0, 1.0, 1.0]

PAIRS = [
    pytest.param(UNIT, UNIT, 1.0, id="same box"),
    pytest.param(UNIT, [0.5, 0.0, 1.5, 1.0], 1 / 3, id="shifted by half"),
    pytest.param(UNIT, [0.0, 0.0, 0.5, 0.5], 0.25, id="quarter inside"),
    pytest.param(UNIT, [1.0, 0.0, 2.0, 1.0], 0.0, id="touching"),
    pytest.param(UNIT, [2.0, 2.0, 3.0, 3.0], 0.0, id="apart"),
    pytest.param(UNIT, [0.5, 0.5, 0.5, 0.5], 0.0, id="point"),
    pytest.param([0.2] * 4, [0.2] * 4, 0.0, id="same point"),
]


@pytest.mark.parametrize(("a", "b", "expected"), PAIRS)
def test_iou_by_hand(a, b, expected):
    assert boxes.iou(np.array([a]), np.array([b])) == pytest.approx(np.array([[expected]]))
    assert boxes.iou(np.array([b]), np.array([a])) == pytest.approx(np.array([[expected]]))


@pytest.mark.parametrize(("a", "b"), [(0, 3), (3, 0), (0, 0)])
def test_iou_without_boxes(a, b):
    assert boxes.iou(np.zeros((a, 4)), np.zeros((b, 4))).shape == (a, b)


def test_areas_by_hand():
    rows = np.array([UNIT, [0.1, 0.2, 0.3, 0.7], [0.5, 0.5, 0.5, 0.9], [0.6, 0.6, 0.5, 0.5]])
    assert boxes.areas(rows) == pytest.approx([1.0, 0.1, 0.0, 0.0])


SUPPRESSIONS = [
    pytest.param([[1, 1], [1, 1]], [1, 0], id="first suppresses second"),
    pytest.param([[1, 0], [0, 1]], [1, 1], id="no overlap"),
    pytest.param(
        [[1, 1, 0], [1, 1, 1], [0, 1, 1]], [1, 0, 1], id="suppressed row suppresses nothing"
    ),
    pytest.param([[1, 0], [1, 1]], [1, 1], id="later row suppresses no earlier one"),
    pytest.param(np.zeros((0, 0)), [], id="no rows"),
]


@pytest.mark.parametrize(("covers", "expected"), SUPPRESSIONS)
def test_greedy_suppression_by_hand(covers, expected):
    assert boxes.greedy_suppression(np.array(covers, bool)).tolist() == list(map(bool, expected))


MATCHES = [
    pytest.param([[0.9, 0.6]], [0], id="best column"),
    pytest.param([[0.6, 0.9], [0.5, 0.8]], [1, 0], id="each column once"),
    pytest.param([[0.9], [0.95]], [0, -1], id="first row chooses first"),
    pytest.param([[0.5]], [0], id="at the threshold"),
    pytest.param([[0.499]], [-1], id="below the threshold"),
    pytest.param([[0.7, 0.7]], [0], id="first of equals"),
    pytest.param(np.zeros((2, 0)), [-1, -1], id="no columns"),
    pytest.param(np.zeros((0, 2)), [], id="no rows"),
]


@pytest.mark.parametrize(("overlaps", "expected"), MATCHES)
def test_match_by_hand(overlaps, expected):
    assert boxes.match(np.asarray(overlaps, float), least=0.5).tolist() == expected
