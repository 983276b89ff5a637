import pytest

from curation.active_learning.gate.live_monitor import (
    LiveCheck,
    RollbackPolicy,
    append_check,
    decide,
    read,
)
from curation.errors import EvidenceError


def checks(*values, version="2", n=100):
    return [LiveCheck(f"2026-01-{i + 1:02d}", version, one, n) for i, one in enumerate(values)]


DECISIONS = [
    pytest.param([], False, "No check of version 2", id="nothing measured"),
    pytest.param(checks(0.5, 0.5), False, "2 of 3 checks so far", id="too few"),
    pytest.param(checks(0.5, 0.5, 0.5), True, "below 0.9 in 3 checks in a row", id="three below"),
    pytest.param(checks(0.5, 0.5, 0.9), False, "floor 0.9", id="the floor itself is good"),
    pytest.param(checks(0.5, 0.95, 0.5, 0.5), False, "floor", id="one good check between"),
    pytest.param(checks(0.99, 0.5, 0.5, 0.5), True, "0.5000, 0.5000", id="only the last count"),
    pytest.param(
        [*checks(0.5, 0.5), *checks(0.5, version="1")], False, "2 of 3", id="of another version"
    ),
    pytest.param([*checks(0.5, 0.5), *checks(0.5, n=49)], False, "2 of 3", id="on too few samples"),
]


@pytest.mark.parametrize(("found", "roll_back", "reason"), DECISIONS)
def test_decide(found, roll_back, reason):
    decision = decide(found, champion="2", watch=RollbackPolicy(floor=0.9, checks=3, least=50))
    assert decision.roll_back is roll_back
    assert reason in decision.reason


def test_there_and_back(tmp_path):
    path = tmp_path / "deep" / "live.jsonl"
    assert read(path) == []
    for one in checks(0.5, 0.6):
        append_check(path, one)
    assert read(path) == checks(0.5, 0.6)


def test_a_line_that_is_being_written_waits(tmp_path):
    path = tmp_path / "live.jsonl"
    append_check(path, *checks(0.5))
    with path.open("a") as file:
        file.write('{"at": "2026')
    assert read(path) == checks(0.5)


@pytest.mark.parametrize(
    "line", ["nonsense", '{"at": "x", "version": "1", "n": 3}', "[]",
             '{"at": "x", "version": "1", "n": 3, "value": 0.5}',
             '{"at": "x", "version": "1", "n": 3, "value": NaN}'],
)  # fmt: skip
def test_a_line_that_is_no_check_is_named(tmp_path, line):
    path = tmp_path / "live.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(EvidenceError, match=r"live\.jsonl:1"):
        read(path)


@pytest.mark.parametrize("wrong", [{"checks": 0}, {"least": 0}, {"floor": float("nan")}])
def test_a_watch_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(EvidenceError, match="A watch needs"):
        RollbackPolicy(**{"floor": 0.9, **wrong})
