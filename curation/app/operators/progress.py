"""Progress reports of operators, throttled, and cancellation of queued runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cascade.runtime.progress import Progress

if TYPE_CHECKING:
    from fiftyone.operators import ExecutionContext

_QUEUED_INTERVAL_S = 2.0  # each report of a queued run is a write to the database

StageProgress = Callable[[str], Progress | None]  # progress callback of a stage, by its verb


def throttled(
    report: Callable[[int, int], None],
    *,
    interval_s: float = _QUEUED_INTERVAL_S,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Return a callback that reports the first and the last call, and one per `interval_s`."""
    reported_at: float | None = None

    def report_if_due(done: int, total: int) -> None:
        nonlocal reported_at
        now = clock()
        if done >= total or reported_at is None or now - reported_at >= interval_s:
            reported_at = now
            report(done, total)

    return report_if_due


def queued_progress(ctx: ExecutionContext) -> StageProgress:
    """Return progress reports to the database, which also end a run that was cancelled.

    Works in our worker and in FiftyOne's own.
    """
    return lambda verb: throttled(lambda done, total: _report(ctx, verb, done, total))


def _report(ctx: ExecutionContext, verb: str, done: int, total: int) -> None:
    """Report the progress of a queued run.

    Raises:
        CancelledError: The run was cancelled or ended meanwhile.
    """
    run = ctx.request_params.get("run_doc")
    if run is not None:
        import fiftyone.core.odm as foo

        from curation.worker.queue import CANCELLED, CancelledError, should_continue

        if not should_continue(foo.get_db_conn(), run):
            raise CancelledError(CANCELLED)
    ctx.set_progress(progress=min(done / max(total, 1), 1.0), label=f"{verb}: {done} of {total}")
