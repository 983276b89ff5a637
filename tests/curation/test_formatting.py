import pytest

from curation import formatting


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(0.4, "just now", id="less than a second"),
        pytest.param(1, "1 second ago", id="singular"),
        pytest.param(119, "1 minute ago", id="rounded down to a whole unit"),
        pytest.param(7200, "2 hours ago", id="hours"),
        pytest.param(3 * 86_400, "3 days ago", id="days"),
    ],
)
def test_age_is_in_largest_unit(seconds, expected):
    assert formatting.time_ago(seconds).replace("\u00a0", " ") == expected


def test_missing_numbers_are_a_dash():
    nan = float("nan")
    assert formatting.ratio(1, 0) == formatting.number(None) == formatting.number(nan) == "-"
    assert formatting.percent(nan) == formatting.percent_interval(nan, 0.0, 1.0) == "-"
    assert formatting.number(None, undefined="not defined") == "not defined"


def test_shares_and_intervals_are_percentages():
    assert formatting.ratio(1, 3) == "33%"
    assert formatting.percent(0.625) == "62%"
    assert formatting.percent_interval(0.31, 0.22, 0.42) == "31% (22% to 42%)"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(0.012, "12 ms", id="milliseconds"),
        pytest.param(2.345, "2 s", id="seconds"),
        pytest.param(61, "61 s", id="up to two minutes in seconds"),
        pytest.param(300, "5 min", id="minutes"),
        pytest.param(9000, "2.5 h", id="hours"),
    ],
)
def test_duration_has_fitting_unit(seconds, expected):
    assert formatting.duration(seconds) == expected


@pytest.mark.parametrize(("mb", "expected"), [(12.1, "13 MB"), (1126.4, "1.1 GB")])
def test_memory_has_fitting_unit(mb, expected):
    assert formatting.memory(mb) == expected


def test_quantity_agrees_in_number():
    assert formatting.quantity(1, "box", "boxes") == "1 box"
    assert formatting.quantity(1200, "box", "boxes") == "1,200 boxes"
