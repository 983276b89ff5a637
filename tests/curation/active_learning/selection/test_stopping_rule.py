"""Stopping rule and labeling cost."""

import numpy as np
import pytest

from curation.active_learning.selection.stopping_rule import Gain, labeling_cost, should_stop

NOISE = Gain(0.01, -0.02, 0.04)
BETTER = Gain(0.05, 0.01, 0.09)
WORSE = Gain(-0.05, -0.09, -0.01)
ROWS = [
    pytest.param([NOISE, NOISE], True, id="two rounds within the noise"),
    pytest.param([BETTER, NOISE, NOISE], True, id="only the last two count"),
    pytest.param([NOISE, BETTER], False, id="last round gained"),
    pytest.param([NOISE, WORSE], False, id="last round lost, which is not noise"),
    pytest.param([NOISE, None], False, id="no verdict is not evidence"),
    pytest.param([NOISE], False, id="single round is not enough"),
    pytest.param([], False, id="no round"),
]


@pytest.mark.parametrize(("gains", "expected"), ROWS)
def test_should_stop(gains, expected):
    assert should_stop(gains)[0] is expected


def test_sentence_has_gains():
    assert should_stop([NOISE, NOISE])[1] == (
        "The gains of the last 2 rounds are within the noise: +0.010 in [-0.020, +0.040]; "
        "+0.010 in [-0.020, +0.040]. Stop."
    )
    assert should_stop([NOISE])[1] == "1 of the 2 rounds that a stop needs are measured."
    assert "no verdict" in should_stop([None, NOISE])[1]


def test_labeling_cost_with_assumed_times():
    # 4 images x 10 s + 20 boxes x 7 s = 180 s
    cost = labeling_cost(np.array([5.0, 5.0, 10.0, 0.0]))
    assert (cost.images, cost.boxes, cost.hours) == (4, 20.0, pytest.approx(0.05))
    assert cost.sentence.endswith("at 7 s a box and 10 s an image (assumed, not measured).")


def test_labeling_cost_with_measured_times():
    cost = labeling_cost(np.full(100, 6.0), seconds_per_box=3.0, seconds_per_image=18.0)
    assert cost.hours == pytest.approx(1.0)
    assert "(as measured)" in cost.sentence


def test_empty_batch_has_no_cost():
    assert labeling_cost(np.empty(0)).hours == 0.0
