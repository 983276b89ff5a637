"""One attempt at one run: alone, in time, with its log, and an end on record whatever happens.

A run is carried to its end by as many attempts as it takes, by whoever comes: each holds the
job's lease, and writes with the lease's fencing token, so that one who was thought dead and
comes back writes nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
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
from curation.jobs.models import Attempt, Job, Refused, Run
from curation.jobs.notifications import Event, What
from curation.jobs.store import History
from curation.storage.database import lease
from curation.storage.database.lease import Lease, LeaseError
from curation.storage.database.lease_renewal import LeaseRenewer

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
LEASE_S = 30.0  # how long a machine that vanished keeps the others waiting


class Stopped(BaseException):
    """The process was asked to end."""


@dataclass
class Context:
    """What a job's work may ask of the run that it is part of."""

    job: Job
    run: Run
    history: History
    lease: Lease

    @property
    def facts(self) -> Mapping[str, Any]:
        """What an earlier attempt decided."""
        return self.run.facts

    def keep(self, **facts: Any) -> None:
        """Decide something for every attempt to come."""
        self.run = self.history.keep(self.run, **facts)

    def expect_alone(self) -> None:
        """Go on only if nobody has taken over; called before what cannot be taken back.

        Raises:
            LeaseError: Somebody has.
        """
        self.lease.renew()


Work = Callable[[Context], Mapping[str, Any]]


def utc_now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def attempt(
    job: Job,
    due: datetime,
    work: Work,
    history: History,
    *,
    clock: Clock = utc_now,
    lease_s: float = LEASE_S,
    wait_s: float = 0.0,
) -> Run:
    """Try once to carry a run to its end, and return what is on record afterwards.

    Args:
        job: Whose run.
        due: Which run; it must be on record.
        work: Does it, and returns what it did, plain JSON.
        history: Where it is on record.
        clock: Tells the present.
        lease_s: How long the job's lease is held without a renewal.
        wait_s: How long to wait for another run of the job.

    Raises:
        LeaseError: The job runs elsewhere, or was taken over meanwhile.
        Stopped, KeyboardInterrupt: The process is asked to end; the run waits for the next one.
    """
    with lease.hold(
        history.database, lease_name(job.name), holder=who(), seconds=lease_s, wait_s=wait_s
    ) as held:
        found = history.run(job.name, due)
        run = found and history.claim(found, token=held.token, who=who(), now=clock())
        if found is None or run is None:
            return found or Run(job.name, due, "missed", reason="It is not on record.")
        if _failures(run) > job.retries:
            why = f"{_failures(run)} attempts ended in failure or without a word."
            ended = history.end(run, "failed", now=clock(), outcome=why)
            return _tell(job, ended, history, "failed")
        with log_capture.captured() as log, LeaseRenewer(held.renew, every_s=lease_s / 3):
            ended, what = _carry(job, Context(job, run, history, held), work, history, clock, log)
        return _tell(job, ended, history, what) if what else ended


def lease_name(job: str) -> str:
    """Return the name of the lease under which a job runs."""
    return f"job {job}"


def is_free(history: History, job: str) -> bool:
    """Return whether nobody runs the job; a process of this machine that died counts as nobody."""
    try:
        with lease.hold(history.database, lease_name(job), holder=who(), seconds=5.0):
            return True
    except LeaseError:
        return False


def who() -> str:
    """Return what this process calls itself."""
    return f"{socket.gethostname()} {os.getpid()}"


@contextmanager
def stoppable() -> Iterator[None]:
    """Have SIGTERM end the block as Ctrl-C does, with what it owes put on record."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _carry(
    job: Job, context: Context, work: Work, history: History, clock: Clock, log: Any
) -> tuple[Run, What | None]:
    """Do the work; return what is on record then, and the event that tells of it."""

    def end(state: Any, outcome: str, **more: Any) -> Run:
        return history.end(context.run, state, now=clock(), outcome=outcome, log=[*log], **more)

    try:
        with deadline(job.timeout_s):
            result = work(context)
    except LeaseError:
        raise  # whoever took over goes on; nothing of this attempt counts
    except Refused as error:
        return end("refused", str(error)), "refused"
    except (Stopped, KeyboardInterrupt):
        end("waiting", _STOPPED, not_before=clock())
        raise
    except (Exception, DeadlineError) as error:
        expected = isinstance(error, (CascadeError, CurationError, DeadlineError))
        logger.error("%s", _words(error), exc_info=not expected)
        failures = 1 + _failures(context.run)
        if failures > job.retries:
            return end("failed", _words(error)), "failed"
        again = clock() + timedelta(seconds=schedule.backoff_s(job, failures))
        return end("waiting", _words(error), not_before=again), "retry"
    done = end("done", "done", result=result)
    return done, "recovered" if _failures(done) else None


_STOPPED = "stopped on request"


def _failures(run: Run) -> int:
    """Return how many attempts ended badly: those that were stopped on request did not."""
    return sum(_is_failure(one) for one in run.attempts)


def _is_failure(one: Attempt) -> bool:
    return one.ended is not None and one.outcome not in ("done", _STOPPED)


def _tell(job: Job, run: Run, history: History, what: What) -> Run:
    said = notifications.send(
        Event(
            what, job.name, run.due, len(run.attempts), run.reason,
            next_attempt=run.not_before, result=run.result or None,
        ),
        job.notify,
    )  # fmt: skip
    history.told(job.name, run.due, said)
    return run


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
