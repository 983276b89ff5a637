"""Concurrent adjudication of many cases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cascade.adjudication.agent import adjudicate_case, gather_or_cancel
from cascade.adjudication.case import Case
from cascade.adjudication.limits import Bounds
from cascade.adjudication.protocols import Planner, VisionModel
from cascade.adjudication.result import Result
from cascade.models.language.event_loop import LoopThread

CONCURRENCY = 16  # cases in progress; each has one to about eight questions in flight


def adjudicate(
    cases: Sequence[Case],
    planner: Planner,
    vision_model: VisionModel,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    *,
    concurrency: int = CONCURRENCY,
) -> list[Result]:
    """Return the result of each case, in order. Errors of a server never raise.

    Args:
        cases: Doubtful images. Their pixels are in memory, so pass a few dozen per call.
        planner: Model that chooses the operations, shared by all cases.
        vision_model: Model that answers questions about crops, shared by all cases.
        bounds: Limits of each case.
        concurrency: Number of cases in progress at the same time.
    """

    async def adjudicate_all() -> list[Result]:
        slots = asyncio.Semaphore(concurrency)

        async def adjudicate_in_slot(case: Case) -> Result:
            async with slots:
                return await adjudicate_case(case, planner, vision_model, bounds)

        return await gather_or_cancel(adjudicate_in_slot(case) for case in cases)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(adjudicate_all())
    thread = LoopThread()  # a notebook's own loop is blocked until this call returns
    try:
        return thread.run(adjudicate_all())
    finally:
        thread.close()
