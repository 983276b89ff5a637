"""Jobs and their runs: plain records without behavior.

* CurationError
  x JobError      an invalid job, or a job that does not exist
  x Refused       a run that needs a person's decision before it may continue
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from curation.errors import CurationError

Kind = Literal["nightly", "drift", "metric"]
Overlap = Literal["skip", "queue"]
CatchUp = Literal["latest", "all", "none"]
State = Literal["due", "running", "waiting", "done", "failed", "refused", "skipped", "missed"]

KINDS: tuple[Kind, ...] = ("nightly", "drift", "metric")
OPEN: tuple[State, ...] = ("due", "running", "waiting")  # the other states are final
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")  # also valid as a CronJob's name


class JobError(CurationError, ValueError):
    """A job is invalid, or does not exist."""


class Refused(CurationError, RuntimeError):  # noqa: N818 - an answer, not an error
    """A run must not continue before a person has decided. It is not retried."""


@dataclass(frozen=True)
class Job:
    """Work done on a schedule.

    Attributes:
        name: Lower-case letters, digits and hyphens.
        kind: Kind of work.
        created: Creation time. No earlier time is due; intervals count from here.
        cron: Five fields as in crontab(5), minute, hour, day, month, weekday; or None.
        every_s: Interval in seconds, instead of `cron`.
        zone: Time zone of `cron`, such as `Europe/Berlin`.
        jitter_s: Maximum delay of a run in seconds, to spread many jobs.
        options: Options of the kind; plain JSON.
        timeout_s: Maximum duration of one attempt.
        retries: Maximum number of retries of a failed or crashed run.
        backoff_s: Delay before the first retry; each later delay is doubled.
        overlap: Whether a due time is skipped or queued while an earlier run is unfinished.
        catch_up: Which due times run that passed while no scheduler was running.
        notify: Recipients of failure notices: `https://...`, `mailto:...`.
        paused: Whether due times are recorded as skipped instead of run.
    """

    name: str
    kind: Kind
    created: datetime
    cron: str | None = None
    every_s: int | None = None
    zone: str = "UTC"
    jitter_s: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 6 * 3600.0
    retries: int = 5
    backoff_s: float = 60.0
    overlap: Overlap = "queue"
    catch_up: CatchUp = "latest"
    notify: tuple[str, ...] = ()
    paused: bool = False

    def __post_init__(self) -> None:
        """Validate the fields."""
        if not _NAME.fullmatch(self.name):
            raise JobError(
                "A job's name must consist of lower-case letters, digits and hyphens, "
                f"got {self.name!r}."
            )
        if (self.cron is None) == (self.every_s is None):
            raise JobError(
                f"Give {self.name!r} a schedule: either `--cron '30 2 * * *'` or `--every 6h`."
            )
        if self.every_s is not None and self.every_s < 1:
            raise JobError(f"The interval must be at least 1 s, got {self.every_s} s.")
        if self.timeout_s <= 0 or self.retries < 0 or self.backoff_s < 0 or self.jitter_s < 0:
            raise JobError(
                "The timeout must be more than 0 s; retries, backoff and jitter must not be "
                "negative."
            )
        if self.created.tzinfo is None or self.created.microsecond:
            raise JobError(
                f"`created` must be in whole seconds with a time zone, got {self.created}."
            )

    @property
    def when(self) -> str:
        """The schedule as text."""
        if self.cron is not None:
            return f"{self.cron} {self.zone}"
        return f"every {self.every_s} s"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run.

    Attributes:
        began: Start time.
        who: Process of the attempt: machine and process id.
        ended: End time; None while it is active, or if it crashed.
        outcome: Outcome as text.
    """

    began: datetime
    who: str
    ended: datetime | None = None
    outcome: str = ""


@dataclass(frozen=True)
class Run:
    """Record of one due time of a job, identified by the job's name and the time.

    Attributes:
        job: The job's name.
        due: Due time without jitter, UTC.
        state: `due`, `running` and `waiting` (for a retry) are open; the others are final.
        scheduled: Whether the schedule requested it, rather than a person.
        reason: Reason for the state, as text.
        not_before: Earliest time of the next attempt.
        token: Fencing token of the last process that ran it.
        attempts: All attempts, in order.
        facts: Decisions of an attempt that later attempts must follow.
        result: Result of a finished run.
        log: Last lines of the log.
        notices: Delivery results of notifications.
    """

    job: str
    due: datetime
    state: State
    scheduled: bool = True
    reason: str = ""
    not_before: datetime | None = None
    token: int = 0
    attempts: tuple[Attempt, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the run has not reached a final state."""
        return self.state in OPEN
