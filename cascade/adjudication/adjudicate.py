"""Many cases, settled side by side: the adjudicator's door."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cascade.adjudication.agent import inquire
from cascade.adjudication.case import Case
from cascade.adjudication.limits import Bounds
from cascade.adjudication.protocols import Eye, Root
from cascade.adjudication.result import Ruling
from cascade.adjudication.together import together
from cascade.models.language.event_loop import LoopThread

CONCURRENCY = 16  # cases at once; each has one to some eight questions in flight


def adjudicate(
    cases: Sequence[Case],
    root: Root,
    eye: Eye,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    *,
    concurrency: int = CONCURRENCY,
) -> list[Ruling]:
    """Return the ruling on each case, in order. Nothing that a server does raises.

    Args:
        cases: Images in doubt; their pixels are in memory, so hand in some dozens at a time.
        root: Decides what to ask for; shared by all cases.
        eye: Looks at crops; shared by all cases.
        bounds: What each case may cost.
        concurrency: Cases that are worked on at once.
    """
    work = _all(cases, root, eye, bounds, concurrency)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    beside = LoopThread()  # a notebook has a loop already, and is waiting in it
    try:
        return beside.run(work)
    finally:
        beside.close()


async def _all(
    cases: Sequence[Case], root: Root, eye: Eye, bounds: Bounds, concurrency: int
) -> list[Ruling]:
    slots = asyncio.Semaphore(concurrency)

    async def one(case: Case) -> Ruling:
        async with slots:
            return await inquire(case, root, eye, bounds)

    return await together(one(case) for case in cases)
