"""Many cases at once."""

import asyncio
import json

from adjudication_cases import ScriptedEye, ScriptedRoot, case, look, turn, verdict

from cascade.adjudication.adjudicate import adjudicate
from cascade.adjudication.limits import Bounds
from cascade.errors import ServerError
from cascade.models.language.reply_parser import Reply
from cascade.predictions import Answer


def cases(count):
    return [case(id=f"{i}", p=i / 100) for i in range(count)]


def p_told(messages):
    return json.loads(messages[1]["content"])["ensemble"]["p_yes"]


class Echo:
    """A root that looks, then rules as the ensemble does; later cases are faster."""

    def __init__(self):
        self.at_once = self.most_at_once = 0

    async def reply(self, messages, schema):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        p = p_told(messages)
        for _ in range(60 - int(100 * p)):
            await asyncio.sleep(0)
        self.at_once -= 1
        return Reply(turn(look()) if len(messages) == 2 else verdict(p))


def test_rulings_keep_the_order_of_the_cases():
    rulings = adjudicate(cases(40), Echo(), ScriptedEye(), Bounds(epsilon=0.001), concurrency=40)
    assert [one.p_yes for one in rulings] == [0.001, *(i / 100 for i in range(1, 40))]


def test_as_many_cases_as_allowed_are_worked_on_and_no_more():
    root = Echo()
    adjudicate(cases(20), root, ScriptedEye(), concurrency=5)
    assert root.most_at_once == 5


def test_no_case_asks_nothing():
    root = ScriptedRoot("")
    assert adjudicate([], root, ScriptedEye()) == []
    assert root.heard == []


def test_one_case_that_goes_wrong_costs_the_others_nothing():
    class Root:
        async def reply(self, messages, schema):
            p = p_told(messages)
            if p == 0.01:
                raise ServerError("refused")
            if p == 0.02:
                await asyncio.Event().wait()
            return Reply("?" if p == 0.03 else verdict(0.9))

    rulings = adjudicate(cases(5), Root(), ScriptedEye(), Bounds(wall_s=0.2))
    assert [one.why for one in rulings] == ["verdict", "server", "wall_time", "turns", "verdict"]
    assert [one.p_yes for one in rulings] == [0.9, 0.01, 0.02, 0.03, 0.9]


def test_a_case_that_waits_for_its_turn_does_not_lose_time():
    """Each takes most of its time, one after another."""

    class Slow:
        async def look(self, crop, question):
            await asyncio.sleep(0.1)
            return Answer(p_yes=0.9)

    rulings = adjudicate(cases(4), Echo(), Slow(), Bounds(wall_s=0.3), concurrency=1)
    assert [one.why for one in rulings] == ["verdict"] * 4


def test_it_works_where_a_loop_is_running_as_in_a_notebook():
    async def cell():
        return adjudicate(cases(2), Echo(), ScriptedEye())

    assert [one.why for one in asyncio.run(cell())] == ["verdict"] * 2
