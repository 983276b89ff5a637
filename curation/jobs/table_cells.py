"""Jobs and runs as people read them: the cells of the tables in the terminal and in the App."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from curation.jobs import schedule
from curation.jobs.models import Job, Run


def coming(job: Job, now: datetime) -> str:
    """Return when a job is due next, by its own clock."""
    return "paused" if job.paused else at(schedule.following(job, now), job)


def at(when: datetime | None, job: Job) -> str:
    """Return a time by the clock of a job."""
    if when is None:
        return "never"
    return f"{when.astimezone(ZoneInfo(job.zone)):%a %Y-%m-%d %H:%M:%S}"


def due(run: Run) -> str:
    """Return when a run was due, UTC."""
    return f"{run.due:%Y-%m-%d %H:%M:%S}"


def became(run: Run) -> str:
    """Return what became of a run, and why."""
    return f"{run.state}: {run.reason}" if run.reason not in ("", "done") else run.state


def took(run: Run) -> str:
    """Return how long a run took with all its attempts; nothing while it goes on."""
    if not run.attempts or run.attempts[-1].ended is None:
        return ""
    return f"{(run.attempts[-1].ended - run.attempts[0].began).total_seconds():.0f} s"


def story(run: Run) -> str:
    """Return the outcome of every attempt, or why there was none."""
    tried = [f"{i}. {one.outcome or 'at work'}" for i, one in enumerate(run.attempts, start=1)]
    return "\n".join(tried) if len(tried) > 1 else run.reason or "".join(tried)
