"""Due times of a job, from its cron expression or interval and its time zone.

The time at which a job is due identifies the run, and must be the same for every process:

* 0 is Sunday, as in crontab(5);
* a local time repeated at the end of daylight saving time counts once, unless the job runs
  every hour; one skipped at its beginning is due an hour later by the new clock;
* an interval counts from the creation of the job;
* jitter is a delay derived from job and time, not drawn at random.

Pure functions: the current time is an argument.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from curation.jobs.models import Job, JobError

FIELDS = ("minute", "hour", "day", "month", "weekday")
_RANGES = ("0 to 59", "0 to 23", "1 to 31", "1 to 12", "0 to 7")
_MAX_CLOCK_CHANGE = timedelta(hours=3)  # no zone ever sets its clocks further
_EPOCH = datetime(1970, 1, 1)


def next_due(job: Job, after: datetime) -> datetime | None:
    """Return the first due time later than `after`, in UTC; None if there is none."""
    if job.every_s is None:
        return _next_cron_time(job, after.astimezone(_zone(job.zone)))
    if after < job.created:
        return job.created.astimezone(UTC)
    interval = timedelta(seconds=job.every_s)
    return (job.created + ((after - job.created) // interval + 1) * interval).astimezone(UTC)


def _next_cron_time(job: Job, after: datetime) -> datetime | None:
    """Return the first due time later than `after`, which is in the job's zone.

    Near a clock change, wall-clock times are not in the order of the instants they name. All
    wall-clock times within `_MAX_CLOCK_CHANGE` are then compared.
    """
    cron = job.cron or ""
    hourly = cron_values(cron)[1] in (None, list(range(24)))
    changes = (after - _MAX_CLOCK_CHANGE).utcoffset() != (after + 2 * _MAX_CLOCK_CHANGE).utcoffset()
    slack = _MAX_CLOCK_CHANGE if changes else timedelta(0)
    start = after.replace(tzinfo=None, fold=0) - slack
    first: datetime | None = None
    last: datetime | None = None
    try:
        for wall in CronSim(cron, start):
            if last is not None and wall > last:
                break
            for instant in _instants(wall, after.tzinfo, twice=hourly):
                if instant > after and (first is None or instant < first):
                    first = instant
                    last = last or wall + slack
    except CronSimError:  # a date that does not exist, such as February 30
        return None
    return first


def _instants(wall: datetime, zone: tzinfo | None, *, twice: bool) -> list[datetime]:
    """Return the instants of a wall-clock time: two if it is repeated and `twice` is set."""
    early, late = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return [early, late] if twice and late > early else [early]


def due_times(job: Job, *, after: datetime, until: datetime) -> list[datetime]:
    """Return every due time in (after, until], in order."""
    times: list[datetime] = []
    due = next_due(job, max(after, job.created))
    while due is not None and due <= until:
        times.append(due)
        due = next_due(job, due)
    return times


def start_time(job: Job, due: datetime) -> datetime:
    """Return the earliest start of the run due at a time: the time plus its jitter."""
    digest = hashlib.sha256(f"{job.name} {due.astimezone(UTC).isoformat()}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return due + timedelta(seconds=round(share * job.jitter_s, 3))


def backoff_s(job: Job, failures: int) -> float:
    """Return the delay after a number of failures, from 1: at most an hour or the first delay."""
    return min(job.backoff_s * 2 ** (failures - 1), max(3600.0, job.backoff_s))


def validate(job: Job) -> None:
    """Check that the schedule of a job has due times.

    Raises:
        JobError: The expression or the time zone is invalid, or no time ever matches.
    """
    _zone(job.zone)
    if next_due(job, job.created) is None:
        raise JobError(f"The schedule {job.when!r} never comes due.")


def cron_values(cron: str) -> list[list[int] | None]:
    """Return the values of the five fields, in order of `FIELDS`; None for any (`*`).

    Weekdays are 0 to 6, from Sunday.

    Raises:
        JobError: The expression is invalid, or restricts both days and weekdays.
    """
    words = cron.split()
    if len(words) != len(FIELDS):
        raise JobError(
            f"A cron expression has five fields, {' '.join(FIELDS)}, as in '30 2 * * *'; "
            f"got {cron!r}."
        )
    values = [_field_values(word, index, cron) for index, word in enumerate(words)]
    if values[2] is not None and values[4] is not None:
        raise JobError(
            f"{cron!r} restricts both days and weekdays, which schedulers combine differently. "
            "Restrict one of them, or add two jobs."
        )
    return values


def _field_values(word: str, index: int, cron: str) -> list[int] | None:
    """Return the sorted values of one field; None for `*`."""
    if word == "*":
        return None
    fields = ["*"] * len(FIELDS)
    fields[index] = word
    try:
        parsed = CronSim(" ".join(fields), _EPOCH)
    except CronSimError:
        values: set[Any] = set()
    else:
        sets = (parsed.minutes, parsed.hours, parsed.days, parsed.months, parsed.weekdays)
        values = sets[index]
    # Extensions such as `L` and `5#3` are negative numbers or tuples; few schedulers know them.
    if not values or not all(isinstance(value, int) and value >= 0 for value in values):
        raise JobError(f"The {FIELDS[index]} of {cron!r} must be {_RANGES[index]}, got {word!r}.")
    return sorted({value % 7 for value in values} if FIELDS[index] == "weekday" else values)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise JobError(
            f"Unknown time zone {name!r}. Use a name such as Europe/Berlin or UTC."
        ) from error
