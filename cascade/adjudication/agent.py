"""The recursive conversation about one case: the planner asks, gets results, and decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cascade.adjudication import crops, prompts, tool_handlers, tools
from cascade.adjudication.case import Case
from cascade.adjudication.limits import BoundReachedError, Bounds, Budget
from cascade.adjudication.prompts import Message
from cascade.adjudication.protocols import Planner, VisionModel
from cascade.adjudication.result import Outcome, Result
from cascade.adjudication.sanitizing import shorten, to_json
from cascade.adjudication.tools import Look, Operation, OperationError, Recurse, Verdict
from cascade.adjudication.trace import Log, Step, Trace
from cascade.adjudication.view import View
from cascade.errors import ServerError
from cascade.predictions import Answer

T = TypeVar("T")

_MAX_RESULT_CHARS = 500  # length of a result in the trace


async def adjudicate_case(
    case: Case, planner: Planner, vision_model: VisionModel, bounds: Bounds
) -> Result:
    """Return the result of a case: a verdict, or the weighted mean and the reason it stands.

    The same replies of the models give the same result, unless time runs out.
    """
    view, log = View.from_case(case), Log()
    position = _Position(Budget(bounds.calls, bounds.characters), log)
    conversation = _Conversation(planner, vision_model, bounds)
    try:
        async with asyncio.timeout(bounds.wall_s) as limit:
            result = await conversation.settle(view, position)
    except TimeoutError:
        if not limit.expired():
            raise  # raised by a model, not by our limit
        result = _fall_back(view, "wall_time", str(BoundReachedError("wall_time")))
    except ServerError as error:
        result = _fall_back(view, "server", str(error))
    return replace(result, trace=Trace(steps=log.steps()))


async def gather_or_cancel(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results in order; on the first error, cancel the other coroutines and raise it."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()  # no effect on a finished task
        await asyncio.gather(*tasks, return_exceptions=True)


def _fall_back(view: View, outcome: Outcome, reason: str) -> Result:
    return Result(p_yes=view.p, reason=shorten(reason, _MAX_RESULT_CHARS), outcome=outcome)


@dataclass(frozen=True)
class _Position:
    """A position in the conversation tree, with the budget and the log that apply there."""

    budget: Budget
    log: Log
    depth: int = 0
    turn: int = 0

    def record(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        result: str,
        start: float | None = None,
        tokens: int | None = None,
    ) -> None:
        """Add a step to the log; `start` is the `perf_counter` value at which it began."""
        elapsed_s = 0.0 if start is None else time.perf_counter() - start
        step = Step(
            depth=self.depth,
            turn=self.turn,
            operation=operation,
            arguments=dict(arguments),
            result=shorten(result, _MAX_RESULT_CHARS),
            milliseconds=round(elapsed_s * 1000, 3),
            tokens=tokens,
        )
        self.log.add(step)

    async def recording_failure(
        self, call: Awaitable[T], operation: str, arguments: Mapping[str, Any]
    ) -> T:
        """Return the reply of a model; a failure is recorded before it is raised."""
        start = time.perf_counter()
        try:
            return await call
        except (ServerError, asyncio.CancelledError) as error:
            self.record(operation, arguments, f"{type(error).__name__}: {error}", start)
            raise


@dataclass(frozen=True)
class _Conversation:
    planner: Planner
    vision_model: VisionModel
    bounds: Bounds

    async def settle(self, view: View, position: _Position) -> Result:
        """Return the result for a question; the weighted mean if a bound is reached."""
        try:
            return await self._converse(view, position)
        except BoundReachedError as error:
            return _fall_back(view, error.limit, str(error))

    async def _converse(self, view: View, position: _Position) -> Result:
        bounds = self.bounds
        depth_left = bounds.depth - position.depth
        if depth_left < 0:
            raise BoundReachedError("depth")
        schema = tools.schema(view.taxonomy)
        messages = prompts.opening_messages(view, turns=bounds.turns, depth_left=depth_left)
        for turn in range(1, bounds.turns + 1):
            current = replace(position, turn=turn)
            reply = await self._reply(messages, schema, current)
            try:
                request = tools.parse(reply)
            except OperationError as error:
                results: Sequence[Any] = [{"error": str(error)}]
                current.record("invalid", {}, str(error))
            else:
                if isinstance(request, Verdict):
                    p_yes = min(max(request.p_yes, bounds.epsilon), 1 - bounds.epsilon)
                    return Result(p_yes=p_yes, reason=request.reason, outcome="verdict")
                results = await self._execute_all(request, view, current)
            messages += prompts.turn_messages(reply, results, turns_left=bounds.turns - turn)
        raise BoundReachedError("turns")

    async def _reply(
        self, messages: Sequence[Message], schema: Mapping[str, Any], position: _Position
    ) -> str:
        characters = sum(len(message["content"]) for message in messages)
        position.budget.spend(calls=1, characters=characters)
        arguments = {"messages": len(messages), "characters": characters}
        start = time.perf_counter()
        call = self.planner.reply(messages, schema)
        reply = await position.recording_failure(call, "reply", arguments)
        position.record("reply", arguments, reply.text, start, len(reply.tokens) or None)
        position.budget.spend(characters=len(reply.text))
        return reply.text

    async def _execute_all(
        self, operations: Sequence[Operation], view: View, position: _Position
    ) -> list[dict[str, Any]]:
        """Return the result of each operation, in order; all run concurrently."""
        position.budget.spend(calls=sum(isinstance(item, Look) for item in operations))
        shares = position.budget.shares(sum(isinstance(item, Recurse) for item in operations))
        unused = iter(shares)
        positions = [
            replace(
                position,
                budget=next(unused) if isinstance(operation, Recurse) else position.budget,
                log=position.log.reserve(),
            )
            for operation in operations
        ]
        results = await gather_or_cancel(
            self._execute(operation, view, branch)
            for operation, branch in zip(operations, positions, strict=True)
        )
        for share in shares:
            position.budget.take_back(share)
        return results

    async def _execute(
        self, operation: Operation, view: View, position: _Position
    ) -> dict[str, Any]:
        arguments = operation.model_dump(
            mode="json", by_alias=True, exclude={"op"}, exclude_defaults=True
        )
        start = time.perf_counter()
        try:
            if isinstance(operation, Look):
                result = await self._look(operation, view, position, arguments)
            elif isinstance(operation, Recurse):
                result = await self._recurse(operation, view, position)
            else:
                result = tool_handlers.answer(operation, view)
        except OperationError as error:
            result = {"error": str(error)}
        position.record(operation.op, arguments, to_json(result), start)
        return result

    async def _look(
        self, look: Look, view: View, position: _Position, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        region = tool_handlers.look_region(look, view)
        if view.image is None:
            raise OperationError("The image is not available; go by the boxes.")
        call = self.vision_model.look(crops.close_up(view.image, region), look.question)
        return prompts.describe_answer(await position.recording_failure(call, "look", arguments))

    async def _recurse(self, recurse: Recurse, view: View, position: _Position) -> dict[str, Any]:
        part = view.within(recurse.region, recurse.question)
        result = await self.settle(part, replace(position, depth=position.depth + 1))
        answer = Answer(result.p_yes, result.reason)
        return {**prompts.describe_answer(answer), "fell_back": result.fell_back}
