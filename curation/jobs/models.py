"""What a job is and what became of each time that it was due: plain records, no behaviour.

* CurationError
  x JobError      a job that cannot be meant so, or is not there
  x Refused       a job that could have gone on and should not, until a person has looked
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
OPEN: tuple[State, ...] = ("due", "running", "waiting")  # the others are the end of it
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")  # also the name of a CronJob


class JobError(CurationError, ValueError):
    """A job cannot be meant so, or is not there."""


class Refused(CurationError, RuntimeError):  # noqa: N818 - an answer, not an error
    """The job could go on, and should not until a person has looked. It is not tried again."""


@dataclass(frozen=True)
class Job:
    """What is done again and again.

    Attributes:
        name: Lower case, digits and hyphens.
        kind: What is done.
        created: Nothing before is owed; intervals count from here.
        cron: Five fields as in crontab(5): minute, hour, day, month, weekday; or None.
        every_s: Seconds between two times, where there is no `cron`.
        zone: The time zone of `cron`, such as `Europe/Berlin`.
        jitter_s: The most seconds that a run begins later than it is due, so that many jobs
            do not begin at once.
        options: What the kind wants to know; plain JSON.
        timeout_s: The longest that one attempt may take.
        retries: How often a run is tried again that failed or crashed.
        backoff_s: Seconds before the first retry; each later one waits twice as long.
        overlap: What becomes of a time that comes while an earlier one is not finished: it is
            skipped, or runs afterwards.
        catch_up: Which of the times that passed while nobody watched are run afterwards.
        notify: Who is told when something is not as it should be: `https://...`, `mailto:...`.
        paused: Whether its times pass with nothing done; each is on record as skipped.
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
        """Refuse what cannot be meant."""
        if not _NAME.fullmatch(self.name):
            raise JobError(f"A job is called in lower case, digits and hyphens, got {self.name!r}.")
        if (self.cron is None) == (self.every_s is None):
            raise JobError(
                f"Say when {self.name!r} is due: either `--cron '30 2 * * *'` or `--every 6h`."
            )
        if self.every_s is not None and self.every_s < 1:
            raise JobError(f"A job is due every second at most, got every {self.every_s} s.")
        if self.timeout_s <= 0 or self.retries < 0 or self.backoff_s < 0 or self.jitter_s < 0:
            raise JobError(
                "Timeout must be more than 0 s; retries, backoff and jitter must not be negative."
            )
        if self.created.tzinfo is None or self.created.microsecond:
            raise JobError(f"`created` is in whole seconds, with a time zone; got {self.created}.")

    @property
    def when(self) -> str:
        """When it is due, for people."""
        if self.cron is not None:
            return f"{self.cron} {self.zone}"
        return f"every {self.every_s} s"


@dataclass(frozen=True)
class Attempt:
    """One try at a run.

    Attributes:
        began: When.
        who: The process that tried: machine and process id.
        ended: When; None where it still goes on, or ended without a word.
        outcome: What came of it, in words.
    """

    began: datetime
    who: str
    ended: datetime | None = None
    outcome: str = ""


@dataclass(frozen=True)
class Run:
    """What became of one time at which a job was due. Name and time together are its identity.

    Attributes:
        job: The job's name.
        due: When it was due, without jitter, UTC.
        state: `due`, `running` and `waiting` (for the next attempt) go on; the others are ends.
        scheduled: Whether the schedule asked for it, and not a person.
        reason: Why it is so, in words.
        not_before: When the next attempt may begin.
        token: The fencing token of whoever ran it last.
        attempts: All tries, in order.
        facts: What one attempt decided that a later one must keep to.
        result: What it did, once it is done.
        log: The last lines that it logged.
        told: What became of the events that were sent.
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
    told: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is still to be carried to an end."""
        return self.state in OPEN
