"""The recursive loop of one case: the root asks, is told, asks again, and rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cascade.adjudication import crops, prompts, tool_handlers, tools
from cascade.adjudication.case import Case
from cascade.adjudication.limits import BoundReachedError, Bounds, Budget
from cascade.adjudication.prompts import Message
from cascade.adjudication.protocols import Eye, Root
from cascade.adjudication.result import Ruling, Why
from cascade.adjudication.sanitizing import as_json, shortened
from cascade.adjudication.together import together
from cascade.adjudication.tools import Look, Operation, OperationError, Recurse, Verdict
from cascade.adjudication.trace import Log, Step, Trace
from cascade.adjudication.view import View
from cascade.errors import ServerError

T = TypeVar("T")

_LONGEST_RESULT = 500  # characters of a result, as the trace keeps it


async def inquire(case: Case, root: Root, eye: Eye, bounds: Bounds) -> Ruling:
    """Return the ruling on a case: a verdict, or the weighted mean and why it stands.

    Given the same replies of the models it is the same, unless time runs out.
    """
    view, log = View.of(case), Log()
    budget = Budget(bounds.calls, bounds.characters)
    inquiry = _Inquiry(root, eye, bounds)
    try:
        async with asyncio.timeout(bounds.wall_s) as limit:
            ruling = await inquiry.settle(view, _Place(budget, log))
    except TimeoutError:
        if not limit.expired():
            raise  # of a model, and none of our business
        ruling = _fallback(view, "wall_time", str(BoundReachedError("wall_time")))
    except ServerError as error:
        ruling = _fallback(view, "server", str(error))
    return replace(ruling, trace=Trace(steps=log.steps()))


def _fallback(view: View, why: Why, reason: str) -> Ruling:
    return Ruling(p_yes=view.p, reason=shortened(reason, _LONGEST_RESULT), why=why)


@dataclass(frozen=True)
class _Place:
    """Where in a case something happens, and what it may cost there."""

    budget: Budget
    log: Log
    depth: int = 0
    turn: int = 0


@dataclass(frozen=True)
class _Inquiry:
    root: Root
    eye: Eye
    bounds: Bounds

    async def settle(self, view: View, place: _Place) -> Ruling:
        """Return the ruling on a question; where a bound is reached, the weighted mean."""
        try:
            return await self._converse(view, place)
        except BoundReachedError as error:
            return _fallback(view, error.limit, str(error))

    async def _converse(self, view: View, place: _Place) -> Ruling:
        if place.depth > self.bounds.depth:
            raise BoundReachedError("depth")
        schema = tools.schema(view.taxonomy)
        left = self.bounds.depth - place.depth
        messages = prompts.opening(view, turns=self.bounds.turns, depth_left=left)
        for turn in range(1, self.bounds.turns + 1):
            here = replace(place, turn=turn)
            reply = await self._reply(messages, schema, here)
            try:
                asked = tools.parse(reply)
            except OperationError as error:
                results: Sequence[Any] = [{"error": str(error)}]
                here.log.add(_step(here, "invalid", {}, str(error)))
            else:
                if isinstance(asked, Verdict):
                    return self._ruled(asked)
                results = await self._carry_out(asked, view, here)
            messages += prompts.next_turn(reply, results, turns_left=self.bounds.turns - turn)
        raise BoundReachedError("turns")

    def _ruled(self, verdict: Verdict) -> Ruling:
        epsilon = self.bounds.epsilon
        p_yes = min(max(verdict.p_yes, epsilon), 1 - epsilon)
        return Ruling(p_yes=p_yes, reason=verdict.reason, why="verdict")

    async def _reply(
        self, messages: Sequence[Message], schema: Mapping[str, Any], here: _Place
    ) -> str:
        sent = sum(len(one["content"]) for one in messages)
        here.budget.spend(calls=1, characters=sent)
        asked = {"messages": len(messages), "characters": sent}
        reply, took_ms = await _timed(self.root.reply(messages, schema), here, "reply", asked)
        tokens = len(reply.tokens) or None
        here.log.add(_step(here, "reply", asked, reply.text, took_ms, tokens))
        here.budget.spend(characters=len(reply.text))
        return reply.text

    async def _carry_out(
        self, asked: Sequence[Operation], view: View, here: _Place
    ) -> list[dict[str, Any]]:
        """Return the result of each operation, in order; all run at once."""
        here.budget.spend(calls=sum(isinstance(one, Look) for one in asked))
        shares = here.budget.shares(sum(isinstance(one, Recurse) for one in asked))
        waiting = iter(shares)
        places = [
            replace(
                here,
                budget=next(waiting) if isinstance(one, Recurse) else here.budget,
                log=here.log.reserve(),
            )
            for one in asked
        ]
        results = await together(
            self._do(one, view, its) for one, its in zip(asked, places, strict=True)
        )
        for one in shares:
            here.budget.take_back(one)
        return results

    async def _do(self, operation: Operation, view: View, here: _Place) -> dict[str, Any]:
        arguments = operation.model_dump(
            mode="json", by_alias=True, exclude={"op"}, exclude_defaults=True
        )
        start = time.perf_counter()
        try:
            if isinstance(operation, Look):
                result = await self._look(operation, view, here, arguments)
            elif isinstance(operation, Recurse):
                result = await self._recurse(operation, view, here)
            else:
                result = tool_handlers.answer(operation, view)
        except OperationError as error:
            result = {"error": str(error)}
        here.log.add(_step(here, operation.op, arguments, as_json(result), _since_ms(start)))
        return result

    async def _look(
        self, look: Look, view: View, here: _Place, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        region = tool_handlers.place(look, view)
        if view.image is None:
            raise OperationError("There is no image to look at; go by the boxes.")
        crop = crops.close_up(view.image, region)
        answer, _ = await _timed(self.eye.look(crop, look.question), here, "look", arguments)
        return prompts.said(answer)

    async def _recurse(self, recurse: Recurse, view: View, here: _Place) -> dict[str, Any]:
        part = view.within(recurse.region, recurse.question)
        deeper = replace(here, depth=here.depth + 1)
        ruling = await self.settle(part, deeper)
        reason = shortened(ruling.reason, prompts.LONGEST_REASON)
        p_yes = None if ruling.p_yes is None else round(ruling.p_yes, 2)
        return {"p_yes": p_yes, "reason": reason, "fell_back": ruling.fell_back}


async def _timed(
    call: Awaitable[T], here: _Place, name: str, arguments: Mapping[str, Any]
) -> tuple[T, float]:
    """Return what a model says and how long it took; its failure is noted before it is raised."""
    start = time.perf_counter()
    try:
        return await call, _since_ms(start)
    except (ServerError, asyncio.CancelledError) as error:
        told = f"{type(error).__name__}: {error}"
        here.log.add(_step(here, name, arguments, told, _since_ms(start)))
        raise


def _step(
    here: _Place,
    operation: str,
    arguments: Mapping[str, Any],
    result: str,
    took_ms: float = 0.0,
    tokens: int | None = None,
) -> Step:
    return Step(
        depth=here.depth,
        turn=here.turn,
        operation=operation,
        arguments=dict(arguments),
        result=shortened(result, _LONGEST_RESULT),
        milliseconds=round(took_ms, 3),
        tokens=tokens,
    )


def _since_ms(start: float) -> float:
    return (time.perf_counter() - start) * 1000
