"""Execution of one attempt at a run: exclusive, with a time limit, and always recorded.

A run may take several attempts, by any process. Each attempt holds the job's lease and writes
with the lease's fencing token, so an attempt whose lease has expired can no longer write.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, NoReturn

from cascade.errors import CascadeError
from curation.errors import CurationError
from curation.jobs import notifications, schedule
from curation.jobs.execution import log_capture
from curation.jobs.execution.timeout import DeadlineError, deadline
from curation.jobs.models import Job, Refused, Run, State
from curation.jobs.notifications import Event, EventKind
from curation.jobs.store import JobStore
from curation.storage.database import lease
from curation.storage.database.lease import Lease, LeaseError
from curation.storage.database.lease_renewal import LeaseRenewer

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
LEASE_S = 30.0  # how long other machines wait after one has crashed


class Stopped(BaseException):
    """The process received a request to end."""


@dataclass
class RunContext:
    """Access of a job's work to the run that it is part of."""

    job: Job
    run: Run
    store: JobStore
    lease: Lease

    @property
    def facts(self) -> Mapping[str, Any]:
        """Decisions of earlier attempts."""
        return self.run.facts

    def set_facts(self, **facts: Any) -> None:
        """Store decisions for later attempts."""
        self.run = self.store.set_facts(self.run, **facts)

    def renew_lease(self) -> None:
        """Renew the job's lease, before an irreversible step.

        Raises:
            LeaseError: Another process has taken over.
        """
        self.lease.renew()


Work = Callable[[RunContext], Mapping[str, Any]]


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


def attempt(
    job: Job,
    due: datetime,
    work: Work,
    store: JobStore,
    *,
    clock: Clock = utc_now,
    lease_s: float = LEASE_S,
    wait_s: float = 0.0,
) -> Run:
    """Make one attempt at a run, and return the updated run.

    Args:
        job: The job.
        due: Due time of the run, which must be recorded.
        work: Function that does the work and returns its result as plain JSON.
        store: Store of the run.
        clock: Returns the current time.
        lease_s: Duration of the job's lease without renewal.
        wait_s: Maximum time to wait for another run of the job.

    Raises:
        LeaseError: The job runs in another process, or was taken over by one.
        Stopped, KeyboardInterrupt: The process must end; the run waits for the next attempt.
    """
    with lease.hold(
        store.database, lease_name(job.name), holder=process_name(), seconds=lease_s, wait_s=wait_s
    ) as job_lease:
        existing = store.run(job.name, due)
        if existing is None:
            return Run(job.name, due, "missed", reason="The run is not recorded.")
        run = store.claim(existing, token=job_lease.token, who=process_name(), now=clock())
        if run is None:
            return existing
        failures = _count_failures(run)
        if failures > job.retries:
            reason = f"{failures} attempts failed or crashed."
            ended = store.end(run, "failed", now=clock(), outcome=reason)
            return _notify(job, ended, store, "failed")
        context = RunContext(job, run, store, job_lease)
        renewer = LeaseRenewer(job_lease.renew, every_s=lease_s / 3)
        with log_capture.capture_log() as log, renewer:
            ended, kind = _do_work(context, work, clock, log)
        return _notify(job, ended, store, kind) if kind else ended


def lease_name(job: str) -> str:
    """Return the name of a job's lease."""
    return f"job {job}"


def is_free(store: JobStore, job: str) -> bool:
    """Return whether no process runs the job; crashed processes of this machine do not count."""
    try:
        with lease.hold(store.database, lease_name(job), holder=process_name(), seconds=5.0):
            return True
    except LeaseError:
        return False


def process_name() -> str:
    """Return machine and id of this process."""
    return f"{socket.gethostname()} {os.getpid()}"


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Raise `Stopped` in the block on SIGTERM, so that the attempt is recorded."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _do_work(
    context: RunContext, work: Work, clock: Clock, log: Iterable[str]
) -> tuple[Run, EventKind | None]:
    """Do the work; return the updated run and the kind of event to send, if any."""
    job = context.job

    def end(state: State, outcome: str, **more: Any) -> Run:
        return context.store.end(
            context.run, state, now=clock(), outcome=outcome, log=[*log], **more
        )

    try:
        with deadline(job.timeout_s):
            result = work(context)
    except LeaseError:
        raise  # another process has taken over; this attempt writes nothing
    except Refused as error:
        return end("refused", str(error)), "refused"
    except (Stopped, KeyboardInterrupt):
        end("waiting", _STOPPED, not_before=clock())
        raise
    except (Exception, DeadlineError) as error:
        expected = isinstance(error, (CascadeError, CurationError, DeadlineError))
        logger.error("%s", _describe(error), exc_info=not expected)
        failures = 1 + _count_failures(context.run)
        if failures > job.retries:
            return end("failed", _describe(error)), "failed"
        retry_at = clock() + timedelta(seconds=schedule.backoff_s(job, failures))
        return end("waiting", _describe(error), not_before=retry_at), "retry"
    finished = end("done", "done", result=result)
    return finished, "recovered" if _count_failures(finished) else None


_STOPPED = "stopped on request"


def _count_failures(run: Run) -> int:
    """Return the number of attempts that failed or crashed, without those stopped on request."""
    return sum(
        attempt.ended is not None and attempt.outcome not in ("done", _STOPPED)
        for attempt in run.attempts
    )


def _notify(job: Job, run: Run, store: JobStore, kind: EventKind) -> Run:
    notices = notifications.send(
        Event(
            kind, job.name, run.due, len(run.attempts), run.reason,
            next_attempt=run.not_before, result=run.result or None,
        ),
        job.notify,
    )  # fmt: skip
    store.add_notices(job.name, run.due, notices)
    return run


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
