"""Concurrent adjudication of many cases."""

import asyncio
import json

from adjudication_cases import ScriptedPlanner, ScriptedVisionModel, case, look, turn, verdict

from cascade.adjudication.adjudicate import adjudicate
from cascade.adjudication.limits import Bounds
from cascade.errors import ServerError
from cascade.models.language.reply_parser import Reply
from cascade.predictions import Answer


def cases(count):
    return [case(id=f"{i}", p=i / 100) for i in range(count)]


def ensemble_p(messages):
    return json.loads(messages[1]["content"])["ensemble"]["p_yes"]


class Echo:
    """A planner that looks, then decides as the ensemble; later cases are faster."""

    def __init__(self):
        self.running = self.most_running = 0

    async def reply(self, messages, schema):
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        p = ensemble_p(messages)
        for _ in range(60 - int(100 * p)):
            await asyncio.sleep(0)
        self.running -= 1
        return Reply(turn(look()) if len(messages) == 2 else verdict(p))


def test_results_keep_order_of_cases():
    results = adjudicate(
        cases(40), Echo(), ScriptedVisionModel(), Bounds(epsilon=0.001), concurrency=40
    )
    assert [result.p_yes for result in results] == [0.001, *(i / 100 for i in range(1, 40))]


def test_concurrency_limits_cases_in_progress():
    planner = Echo()
    adjudicate(cases(20), planner, ScriptedVisionModel(), concurrency=5)
    assert planner.most_running == 5


def test_no_cases_make_no_calls():
    planner = ScriptedPlanner("")
    assert adjudicate([], planner, ScriptedVisionModel()) == []
    assert planner.calls == []


def test_failed_case_leaves_others_unaffected():
    class PartlyBroken:
        async def reply(self, messages, schema):
            p = ensemble_p(messages)
            if p == 0.01:
                raise ServerError("refused")
            if p == 0.02:
                await asyncio.Event().wait()
            return Reply("?" if p == 0.03 else verdict(0.9))

    results = adjudicate(cases(5), PartlyBroken(), ScriptedVisionModel(), Bounds(wall_s=0.2))
    assert [result.outcome for result in results] == [
        "verdict",
        "server",
        "wall_time",
        "turns",
        "verdict",
    ]
    assert [result.p_yes for result in results] == [0.9, 0.01, 0.02, 0.03, 0.9]


def test_waiting_case_loses_no_time():
    """Each case takes most of its time limit, one after another."""

    class Slow:
        async def look(self, crop, question):
            await asyncio.sleep(0.1)
            return Answer(p_yes=0.9)

    results = adjudicate(cases(4), Echo(), Slow(), Bounds(wall_s=0.3), concurrency=1)
    assert [result.outcome for result in results] == ["verdict"] * 4


def test_running_event_loop_is_supported():
    async def cell():
        return adjudicate(cases(2), Echo(), ScriptedVisionModel())

    assert [result.outcome for result in asyncio.run(cell())] == ["verdict"] * 2
