"""Jobs and runs as text, for tables in the terminal and in the App."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from curation.jobs import schedule
from curation.jobs.models import Job, Run


def next_due(job: Job, now: datetime) -> str:
    """Return the next due time of a job in its time zone, or `paused`."""
    return "paused" if job.paused else local_time(schedule.next_due(job, now), job)


def local_time(time: datetime | None, job: Job) -> str:
    """Return a time in the time zone of a job; `never` for None."""
    if time is None:
        return "never"
    return f"{time.astimezone(ZoneInfo(job.zone)):%a %Y-%m-%d %H:%M:%S}"


def due(run: Run) -> str:
    """Return the due time of a run, UTC."""
    return f"{run.due:%Y-%m-%d %H:%M:%S}"


def outcome(run: Run) -> str:
    """Return the state of a run, and the reason for it."""
    return f"{run.state}: {run.reason}" if run.reason not in ("", "done") else run.state


def duration(run: Run) -> str:
    """Return the duration of a run with all its attempts; empty while it is active."""
    if not run.attempts or run.attempts[-1].ended is None:
        return ""
    return f"{(run.attempts[-1].ended - run.attempts[0].began).total_seconds():.0f} s"


def attempt_outcomes(run: Run) -> str:
    """Return the outcome of every attempt, or the reason why there was none."""
    lines = [
        f"{i}. {attempt.outcome or 'active'}" for i, attempt in enumerate(run.attempts, start=1)
    ]
    return "\n".join(lines) if len(lines) > 1 else run.reason or "".join(lines)
