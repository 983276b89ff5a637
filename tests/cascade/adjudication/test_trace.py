"""Steps, and the order in which they stand."""

import pytest
from pydantic import ValidationError

from cascade.adjudication.trace import Log, Step, Trace


def step(name):
    return Step(depth=0, turn=1, operation=name, arguments={}, result="", milliseconds=1.5)


def test_steps_stand_where_they_were_asked_for_whenever_they_came():
    log = Log()
    log.add(step("a"))
    first, second = log.reserve(), log.reserve()
    log.add(step("d"))
    second.add(step("c"))
    first.add(step("b"))
    assert [one.operation for one in log.steps()] == ["a", "b", "c", "d"]


def test_a_trace_reads_back():
    trace = Trace(steps=(step("a"), step("b").model_copy(update={"tokens": 3})))
    assert Trace.from_json(trace.to_json()) == trace


def test_a_trace_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Trace().steps = ()
