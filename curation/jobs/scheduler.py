"""The scheduler: looks at the clock, puts what is owed on record, and has it run.

Any number of schedulers may work on one database: a time is on record once, and a job's lease
lets one run of it go on at a time. What a scheduler that died left behind, the next one carries
on. Times come from the clock that is handed in, so that a week takes a second in a test.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from curation.jobs import catch_up, notifications, schedule
from curation.jobs.catch_up import Entry
from curation.jobs.execution import runner
from curation.jobs.execution.runner import Clock, utc_now
from curation.jobs.models import Job, Run
from curation.jobs.notifications import Event
from curation.jobs.store import History

logger = logging.getLogger(__name__)


class Launcher(Protocol):
    """Has attempts made."""

    def launch(self, job: Job, run: Run) -> None:
        """Begin an attempt; it may be over when this returns."""
        ...

    def is_busy(self, job: str) -> bool:
        """Return whether an attempt that was begun here goes on."""
        ...


class Scheduler:
    """Looks at the jobs of one database.

    Args:
        history: The database.
        launcher: Has attempts made.
        clock: Tells the present.
    """

    def __init__(self, history: History, launcher: Launcher, *, clock: Clock = utc_now) -> None:
        self._history, self._launcher, self._clock = history, launcher, clock

    def tick(self) -> None:
        """Look once: put what is owed on record, and begin what may begin."""
        for job in self._history.jobs():
            note_owed(self._history, job, now=self._clock())
            run = ready(self._history, job, now=self._clock())
            if run is None or self._launcher.is_busy(job.name):
                continue
            if runner.is_free(self._history, job.name):
                self._launcher.launch(job, run)

    def serve(self, *, stop: Callable[[], bool], every_s: float = 1.0) -> None:
        """Look again and again until `stop` says so; the database may be away for a while."""
        from pymongo.errors import PyMongoError

        while not stop():
            try:
                self.tick()
            except PyMongoError as error:
                logger.warning("The database does not answer (%s); looking again.", error)
            time.sleep(every_s)


def note_owed(history: History, job: Job, *, now: datetime) -> None:
    """Put every time up to now on record, and tell of those that are not run."""
    last = history.last(job.name)
    after = job.created if last is None else max(last, job.created)
    owed = schedule.owed(job, after=after, until=now)
    if not owed:
        return
    open_runs = history.unfinished(job.name)
    entries = catch_up.plan(job, owed, now=now, unfinished=open_runs[0].due if open_runs else None)
    new = history.note(job.name, entries)
    _tell(history, job, "missed", [one for one in new if one.state == "missed"])
    skipped = [one for one in new if one.state == "skipped" and one.reason != catch_up.PAUSED]
    _tell(history, job, "skipped", skipped)


def pause(history: History, name: str, *, paused: bool, now: datetime) -> None:
    """Let a job rest from now on, or no longer; what it owes up to now is put on record first.

    What runs goes on; what waits for another attempt waits until the job is resumed.

    Raises:
        JobError: There is no such job.
    """
    note_owed(history, history.job(name), now=now)
    history.pause(name, paused=paused)


def _tell(history: History, job: Job, what: notifications.What, entries: Sequence[Entry]) -> None:
    """Send one event, whatever the number of times."""
    if entries:
        last = entries[-1]
        more = f" So did {len(entries) - 1} before it." if len(entries) > 1 else ""
        said = notifications.send(
            Event(what, job.name, last.due, 0, last.reason + more), job.notify
        )
        history.told(job.name, last.due, said)


def ask(history: History, name: str, *, now: datetime, **facts: Any) -> datetime:
    """Put a run on record that a person asks for, with what it must keep to; return its time."""
    due = now.replace(microsecond=0)
    history.note(name, [Entry(due, "due")], scheduled=False, **facts)
    return due


def ready(history: History, job: Job, *, now: datetime) -> Run | None:
    """Return the run to try next: the oldest that is not at its end, if its time has come.

    Of a job that is paused, only what a person asked for.
    """
    found = to_run(history, job)
    return found[0] if found and starts_at(job, found[0]) <= now else None


def to_run(history: History, job: Job) -> list[Run]:
    """Return the runs to carry to their end, oldest first."""
    found = history.unfinished(job.name)
    return [one for one in found if not (job.paused and one.scheduled)]


def starts_at(job: Job, run: Run) -> datetime:
    """Return when the next attempt at a run may begin."""
    if run.not_before is not None:
        return run.not_before
    return schedule.starts(job, run.due) if run.scheduled and not run.attempts else run.due
