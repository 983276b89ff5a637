"""Names of rounds and arms."""

import pytest

from curation.report.figures import ARM_COLORS
from curation.report.sections import choice
from curation.storage.tags import ARMS, arm_tag, parse_arm, parse_round, round_name


@pytest.mark.parametrize(
    ("number", "name"), [(3, "round-03"), (12, "round-12"), (100, "round-100")]
)
def test_round_name_round_trips(number, name):
    assert round_name(number) == name
    assert parse_round(name) == number


@pytest.mark.parametrize(
    "name", ["round-1", "round-trip", "round-", "chosen round-01", "../round-01"]
)
def test_other_names_are_not_rounds(name):
    assert parse_round(name) is None


def test_arm_tag_round_trips():
    assert arm_tag("hard") == "arm:hard"
    assert parse_arm("arm:hard") == "hard"
    assert parse_arm("hard") is None


def test_every_arm_has_a_color_and_a_meaning():
    assert tuple(ARM_COLORS) == ARMS
    assert tuple(choice._MEANING) == ARMS
