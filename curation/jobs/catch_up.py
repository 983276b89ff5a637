"""Catch-up policy: which due times run, and why the others do not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from curation import formatting
from curation.jobs.models import Job, State

GRACE_S = 60.0  # a time this late still counts as on time: schedulers poll
PAUSED = "The job was paused."


@dataclass(frozen=True)
class Entry:
    """Record of one due time.

    Attributes:
        due: The due time, UTC.
        state: `due` if it is to run, else `missed` or `skipped`.
        reason: Why it does not run; empty if it does.
    """

    due: datetime
    state: State
    reason: str = ""


def plan(
    job: Job, due_times: Sequence[datetime], *, now: datetime, unfinished: datetime | None
) -> list[Entry]:
    """Return one entry for each due time, in order.

    Args:
        job: The job.
        due_times: Times up to `now` without a record, in order.
        now: Current time.
        unfinished: Due time of an earlier run that has not ended; None if there is none.
    """
    return [_entry(job, due_times, i, now, unfinished) for i in range(len(due_times))]


def _entry(
    job: Job, due_times: Sequence[datetime], i: int, now: datetime, unfinished: datetime | None
) -> Entry:
    due, late_s = due_times[i], (now - due_times[i]).total_seconds()
    if job.paused:
        return Entry(due, "skipped", PAUSED)
    if job.catch_up == "latest" and i < len(due_times) - 1:
        return Entry(
            due,
            "missed",
            f"No scheduler was running for {formatting.duration(late_s)}; only the latest of "
            f"{len(due_times)} due times runs.",
        )
    if job.catch_up == "none" and late_s > GRACE_S:
        return Entry(due, "missed", f"No scheduler was running for {formatting.duration(late_s)}.")
    if job.overlap == "skip":
        earlier = unfinished or (due_times[0] if i and job.catch_up == "all" else None)
        if earlier is not None:
            return Entry(
                due, "skipped", f"The run of {earlier:%Y-%m-%d %H:%M:%S} UTC was still active."
            )
    return Entry(due, "due")
