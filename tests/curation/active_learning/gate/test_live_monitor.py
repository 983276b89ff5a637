import pytest

from curation.active_learning.gate.live_monitor import (
    LiveCheck,
    RollbackPolicy,
    append_check,
    decide,
    read_checks,
)
from curation.errors import EvidenceError


def checks(*values, version="2", n=100):
    return [LiveCheck(f"2026-01-{i + 1:02d}", version, value, n) for i, value in enumerate(values)]


DECISIONS = [
    pytest.param([], False, "No check of version 2", id="no check"),
    pytest.param(checks(0.5, 0.5), False, "2 of 3 checks so far", id="too few"),
    pytest.param(checks(0.5, 0.5, 0.5), True, "below 0.9 in 3 checks in a row", id="three below"),
    pytest.param(checks(0.5, 0.5, 0.9), False, "floor 0.9", id="value at the floor passes"),
    pytest.param(checks(0.5, 0.95, 0.5, 0.5), False, "floor", id="good check in between"),
    pytest.param(
        checks(0.99, 0.5, 0.5, 0.5), True, "0.5000, 0.5000", id="only the last checks count"
    ),
    pytest.param(
        [*checks(0.5, 0.5), *checks(0.5, version="1")],
        False,
        "2 of 3",
        id="check of another version",
    ),
    pytest.param(
        [*checks(0.5, 0.5), *checks(0.5, n=49)], False, "2 of 3", id="check with too few samples"
    ),
]


@pytest.mark.parametrize(("history", "roll_back", "reason"), DECISIONS)
def test_decide(history, roll_back, reason):
    decision = decide(
        history, champion="2", policy=RollbackPolicy(floor=0.9, checks=3, min_samples=50)
    )
    assert decision.roll_back is roll_back
    assert reason in decision.reason


def test_checks_round_trip_through_file(tmp_path):
    path = tmp_path / "deep" / "live.jsonl"
    assert read_checks(path) == []
    for check in checks(0.5, 0.6):
        append_check(path, check)
    assert read_checks(path) == checks(0.5, 0.6)


def test_incomplete_last_line_is_ignored(tmp_path):
    path = tmp_path / "live.jsonl"
    append_check(path, *checks(0.5))
    with path.open("a") as file:
        file.write('{"at": "2026')
    assert read_checks(path) == checks(0.5)


@pytest.mark.parametrize(
    "line", ["nonsense", '{"at": "x", "version": "1", "n": 3}', "[]",
             '{"at": "x", "version": "1", "n": 3, "value": 0.5}',
             '{"at": "x", "version": "1", "n": 3, "value": NaN}'],
)  # fmt: skip
def test_malformed_line_is_refused_with_its_number(tmp_path, line):
    path = tmp_path / "live.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(EvidenceError, match=r"live\.jsonl:1"):
        read_checks(path)


@pytest.mark.parametrize("wrong", [{"checks": 0}, {"min_samples": 0}, {"floor": float("nan")}])
def test_invalid_policy_is_refused(wrong):
    with pytest.raises(EvidenceError, match="A rollback policy needs"):
        RollbackPolicy(**{"floor": 0.9, **wrong})
