"""Scheduler: polls the clock, records due times, and launches their runs.

Any number of schedulers may share a database: a due time is recorded once, and a job's lease
admits one run at a time. A scheduler continues what a crashed one left behind. The clock is
injected, so that tests can simulate a week in a second.
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
from curation.jobs.store import JobStore

logger = logging.getLogger(__name__)


class Launcher(Protocol):
    """Starts attempts."""

    def launch(self, job: Job, run: Run) -> None:
        """Start an attempt; it may have ended when this returns."""
        ...

    def is_busy(self, job: str) -> bool:
        """Return whether an attempt started here is still active."""
        ...


class Scheduler:
    """Runs the jobs of one database.

    Args:
        store: The jobs and their runs.
        launcher: Starts attempts.
        clock: Returns the current time.
    """

    def __init__(self, store: JobStore, launcher: Launcher, *, clock: Clock = utc_now) -> None:
        self._store, self._launcher, self._clock = store, launcher, clock

    def tick(self) -> None:
        """Record due times and launch runs that may start, once."""
        for job in self._store.jobs():
            record_due_times(self._store, job, now=self._clock())
            run = next_run(self._store, job, now=self._clock())
            if run is None or self._launcher.is_busy(job.name):
                continue
            if runner.is_free(self._store, job.name):
                self._launcher.launch(job, run)

    def serve(self, *, stop: Callable[[], bool], every_s: float = 1.0) -> None:
        """Tick repeatedly until `stop` returns True; survives an unreachable database."""
        from pymongo.errors import PyMongoError

        while not stop():
            try:
                self.tick()
            except PyMongoError as error:
                logger.warning("The database does not answer (%s); retrying.", error)
            time.sleep(every_s)


def record_due_times(store: JobStore, job: Job, *, now: datetime) -> None:
    """Record every due time up to now, and send notices of those that do not run."""
    last = store.last_due(job.name)
    after = job.created if last is None else max(last, job.created)
    due_times = schedule.due_times(job, after=after, until=now)
    if not due_times:
        return
    open_runs = store.open_runs(job.name)
    unfinished = open_runs[0].due if open_runs else None
    entries = catch_up.plan(job, due_times, now=now, unfinished=unfinished)
    new = store.record(job.name, entries)
    _notify(store, job, "missed", [entry for entry in new if entry.state == "missed"])
    skipped = [e for e in new if e.state == "skipped" and e.reason != catch_up.PAUSED]
    _notify(store, job, "skipped", skipped)


def set_paused(store: JobStore, name: str, *, paused: bool, now: datetime) -> None:
    """Pause or resume a job from now on; due times up to now are recorded first.

    An active attempt continues; a waiting run waits until the job is resumed.

    Raises:
        JobError: The job does not exist.
    """
    record_due_times(store, store.job(name), now=now)
    store.set_paused(name, paused=paused)


def _notify(
    store: JobStore, job: Job, kind: notifications.EventKind, entries: Sequence[Entry]
) -> None:
    """Send one event for any number of entries."""
    if entries:
        last = entries[-1]
        more = f" This also applies to {len(entries) - 1} earlier times." if entries[1:] else ""
        event = Event(kind, job.name, last.due, 0, last.reason + more)
        store.add_notices(job.name, last.due, notifications.send(event, job.notify))


def request_run(store: JobStore, name: str, *, now: datetime, **facts: Any) -> datetime:
    """Record a run requested by a person, with facts for its attempts; return its due time."""
    due = now.replace(microsecond=0)
    store.record(name, [Entry(due, "due")], scheduled=False, **facts)
    return due


def next_run(store: JobStore, job: Job, *, now: datetime) -> Run | None:
    """Return the oldest open run, if its next attempt may start now.

    For a paused job, only runs requested by a person count.
    """
    runs = runs_to_finish(store, job)
    return runs[0] if runs and next_attempt_time(job, runs[0]) <= now else None


def runs_to_finish(store: JobStore, job: Job) -> list[Run]:
    """Return the open runs, oldest first; for a paused job those requested by a person."""
    return [run for run in store.open_runs(job.name) if not (job.paused and run.scheduled)]


def next_attempt_time(job: Job, run: Run) -> datetime:
    """Return the earliest start of the next attempt at a run."""
    if run.not_before is not None:
        return run.not_before
    return schedule.start_time(job, run.due) if run.scheduled and not run.attempts else run.due
