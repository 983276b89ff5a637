"""What becomes of the times that a job owes: which are run, and why the others are not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from curation import formatting
from curation.jobs.models import Job, State

GRACE_S = 60.0  # as late as that is still in time: a scheduler that looks now and then
PAUSED = "The job was paused."


@dataclass(frozen=True)
class Entry:
    """What is put on record of one time.

    Attributes:
        due: The time, UTC.
        state: `due` where it is to be run, else `missed` or `skipped`.
        reason: Why it is not run; empty where it is.
    """

    due: datetime
    state: State
    reason: str = ""


def plan(
    job: Job, owed: Sequence[datetime], *, now: datetime, unfinished: datetime | None
) -> list[Entry]:
    """Return one entry for every time that is owed, in order.

    Args:
        job: Whose.
        owed: Times up to `now` that nothing is on record of, in order.
        now: The present.
        unfinished: The time of an earlier run that is not at its end; None where there is none.
    """
    return [_entry(job, owed, i, now, unfinished) for i in range(len(owed))]


def _entry(
    job: Job, owed: Sequence[datetime], i: int, now: datetime, unfinished: datetime | None
) -> Entry:
    due, late_s = owed[i], (now - owed[i]).total_seconds()
    if job.paused:
        return Entry(due, "skipped", PAUSED)
    if job.catch_up == "latest" and i < len(owed) - 1:
        return Entry(
            due,
            "missed",
            f"Nobody watched for {formatting.duration(late_s)}; only the latest of {len(owed)} "
            "times is run.",
        )
    if job.catch_up == "none" and late_s > GRACE_S:
        return Entry(due, "missed", f"Nobody watched for {formatting.duration(late_s)}.")
    if job.overlap == "skip":
        before = unfinished or (owed[0] if i and job.catch_up == "all" else None)
        if before is not None:
            return Entry(
                due, "skipped", f"The run of {before:%Y-%m-%d %H:%M:%S} UTC still went on."
            )
    return Entry(due, "due")
