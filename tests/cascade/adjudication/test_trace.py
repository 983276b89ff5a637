"""Steps and their order."""

import pytest
from pydantic import ValidationError

from cascade.adjudication.trace import Log, Step, Trace


def step(name):
    return Step(depth=0, turn=1, operation=name, arguments={}, result="", milliseconds=1.5)


def test_steps_keep_reserved_order():
    log = Log()
    log.add(step("a"))
    first, second = log.reserve(), log.reserve()
    log.add(step("d"))
    second.add(step("c"))
    first.add(step("b"))
    assert [step.operation for step in log.steps()] == ["a", "b", "c", "d"]


def test_trace_round_trips():
    trace = Trace(steps=(step("a"), step("b").model_copy(update={"tokens": 3})))
    assert Trace.model_validate_json(trace.model_dump_json()) == trace


def test_trace_is_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        Trace().steps = ()
