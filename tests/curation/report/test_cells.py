import pytest

from curation.report import cells
from curation.report.figures import Estimate

CHANGES = [
    pytest.param(Estimate(None), True, "not defined", "muted", id="nothing to compare"),
    pytest.param(Estimate(0.1), True, "+0.100", "", id="without an interval"),
    pytest.param(Estimate(0.1, 0.05, 0.2), True, "better", "good", id="above the noise"),
    pytest.param(Estimate(-0.1, -0.2, -0.05), True, "worse", "bad", id="below the noise"),
    pytest.param(Estimate(0.1, -0.05, 0.2), True, "inside the noise", "muted", id="in the noise"),
    pytest.param(Estimate(0.0, 0.0, 0.0), True, "no change", "muted", id="exactly nothing"),
    pytest.param(Estimate(0.1, 0.05, 0.2), False, "worse", "bad", id="an error that grew"),
    pytest.param(Estimate(-0.1, -0.2, -0.1), False, "better", "good", id="an error that shrank"),
]


@pytest.mark.parametrize(("estimate", "higher_is_better", "text", "tone"), CHANGES)
def test_a_change_has_a_tone_only_outside_the_noise(estimate, higher_is_better, text, tone):
    cell = cells.change(estimate, higher_is_better=higher_is_better)
    assert cell.text.endswith(text)
    assert cell.tone == tone


SAID = [
    (cells.number(None), "not defined"),
    (cells.estimate(Estimate(0.5)), "0.500"),
    (cells.estimate(Estimate(0.5, 0.25, 0.75), 2), "0.50 [0.25, 0.75]"),
]


@pytest.mark.parametrize(("said", "expected"), SAID)
def test_numbers_are_written_like_this(said, expected):
    assert said == expected


def test_arms_come_in_one_order():
    assert cells.ordered_arms({"random", "mine", "hard"}) == ["hard", "random", "mine"]
