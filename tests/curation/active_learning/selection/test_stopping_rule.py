"""Whether to go on, and what it costs."""

import numpy as np
import pytest

from curation.active_learning.selection.stopping_rule import Gain, labeling_cost, should_stop

NOISE = Gain(0.01, -0.02, 0.04)
BETTER = Gain(0.05, 0.01, 0.09)
WORSE = Gain(-0.05, -0.09, -0.01)
ROWS = [
    pytest.param([NOISE, NOISE], True, id="two rounds inside the noise"),
    pytest.param([BETTER, NOISE, NOISE], True, id="only the last two count"),
    pytest.param([NOISE, BETTER], False, id="the last one gained"),
    pytest.param([NOISE, WORSE], False, id="the last one lost, which is no noise"),
    pytest.param([NOISE, None], False, id="no verdict is no evidence"),
    pytest.param([NOISE], False, id="one round is not enough"),
    pytest.param([], False, id="no round"),
]


@pytest.mark.parametrize(("gains", "expected"), ROWS)
def test_should_stop(gains, expected):
    assert should_stop(gains)[0] is expected


def test_the_sentence_has_the_numbers():
    assert should_stop([NOISE, NOISE])[1] == (
        "The last 2 rounds changed nothing that noise would not: +0.010 in [-0.020, +0.040]; "
        "+0.010 in [-0.020, +0.040]. Stop."
    )
    assert should_stop([NOISE])[1] == "1 of the 2 rounds that a stop needs are measured."
    assert "no verdict" in should_stop([None, NOISE])[1]


def test_cost_by_hand():
    # 4 images x 10 s + 20 boxes x 7 s = 180 s
    cost = labeling_cost(np.array([5.0, 5.0, 10.0, 0.0]))
    assert (cost.images, cost.boxes, cost.hours) == (4, 20.0, pytest.approx(0.05))
    assert cost.sentence.endswith("at 7 s a box and 10 s an image (assumed, not measured).")


def test_measured_seconds_are_said_to_be_measured():
    cost = labeling_cost(np.full(100, 6.0), seconds_per_box=3.0, seconds_per_image=18.0)
    assert cost.hours == pytest.approx(1.0)
    assert "(as measured)" in cost.sentence


def test_an_empty_batch_costs_nothing():
    assert labeling_cost(np.empty(0)).hours == 0.0
