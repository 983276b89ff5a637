from datetime import UTC, datetime, timedelta

import pytest

from curation.app.panels import text
from curation.presentation.cache import Kept

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(0.4, "just now", id="less than a second"),
        pytest.param(1, "1\u00a0second\u00a0ago", id="one is no plural"),
        pytest.param(119, "1\u00a0minute\u00a0ago", id="whole units, rounded down"),
        pytest.param(7200, "2\u00a0hours\u00a0ago", id="hours"),
        pytest.param(3 * 86_400, "3\u00a0days\u00a0ago", id="days"),
    ],
)
def test_a_time_that_has_passed_is_said_in_its_largest_unit(seconds, expected):
    assert text.ago(seconds) == expected


@pytest.mark.parametrize(
    ("stale", "expected"),
    [
        pytest.param(
            False, "Counted 3\u00a0minutes\u00a0ago (in 1.5 s); up to date.", id="as good as new"
        ),
        pytest.param(
            True,
            "Counted 3\u00a0minutes\u00a0ago (in 1.5 s); **samples have changed since**.",
            id="out of date",
        ),
    ],
)
def test_figures_say_how_old_they_are(stale, expected):
    kept = Kept(content={}, at=NOW - timedelta(minutes=3), seconds=1.5, stale=stale)
    assert text.age(kept, now=NOW) == expected


def test_numbers_that_are_not_there_are_a_dash():
    assert text.share(1, 0) == text.number(None) == text.number(float("nan")) == "-"
    assert text.interval(float("nan"), 0.0, 1.0) == "-"


def test_shares_and_intervals_are_in_percent():
    assert text.share(1, 3) == "33\u00a0%"
    assert text.interval(0.31, 0.22, 0.42) == "31\u00a0% (22\u00a0to\u00a042)"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.012, "12\u00a0ms"), (61, "61\u00a0s"), (300, "5\u00a0min"), (9000, "2.5\u00a0h")],
    ids=["milliseconds", "seconds", "minutes", "hours"],
)
def test_a_duration_has_the_unit_that_suits_it(seconds, expected):
    assert text.duration(seconds) == expected
