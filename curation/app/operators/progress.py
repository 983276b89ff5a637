"""How far a run is, told now and then; and whether it is still wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cascade.runtime.progress import Progress

_TOLD_EVERY_S = 2.0  # each telling of a queued run is a write to the database

Bars = Callable[[str], Progress | None]  # a progress for each stage, by its verb


def throttled(
    tell: Callable[[int, int], None],
    *,
    every_s: float = _TOLD_EVERY_S,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Return a progress that passes on the first call, the last, and one in `every_s` seconds."""
    told_at: float | None = None

    def pass_on(done: int, total: int) -> None:
        nonlocal told_at
        now = clock()
        if done >= total or told_at is None or now - told_at >= every_s:
            told_at = now
            tell(done, total)

    return pass_on


def of_queued(ctx: Any) -> Bars:
    """Return what tells the database how far a queued run is, and ends one that was cancelled.

    Works in our worker and in FiftyOne's own.
    """

    def bar(verb: str) -> Progress:
        return throttled(lambda done, total: _tell(ctx, verb, done, total))

    return bar


def _tell(ctx: Any, verb: str, done: int, total: int) -> None:
    """Tell how far a queued run is.

    Raises:
        CancelledError: It was cancelled, or ended by somebody.
    """
    run = ctx.request_params.get("run_doc")
    if run is not None:
        import fiftyone.core.odm as foo

        from curation.worker.queue import CANCELLED, CancelledError, is_wanted

        if not is_wanted(foo.get_db_conn(), run):
            raise CancelledError(CANCELLED)
    ctx.set_progress(progress=min(done / max(total, 1), 1.0), label=f"{verb}: {done} of {total}")
