"""When a job is due: the times of its cron line or interval, in its time zone.

APScheduler's triggers count the times; five of their habits are mended here, because the time at
which a job was due is its identity, and must be the same for everyone who asks:

* 0 is Sunday, as in crontab(5), and not Monday;
* a time that the end of daylight saving brings twice counts once, unless the job runs in every
  hour; one that its beginning leaves out is due when the clocks have jumped;
* a midnight right after the clocks have jumped is not left out;
* an interval counts from the job's creation, and not from when somebody asks;
* jitter is a delay that follows from the job and the time, and is not drawn anew at each question.

Pure: the present is an argument.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from curation.jobs.models import Job, JobError

FIELDS = ("minute", "hour", "day", "month", "weekday")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = (
    "", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
_NAMES = ((), (), (), _MONTHS, _WEEKDAYS)
_PART = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?")
_STEP = timedelta(microseconds=1)
_CHANGE = timedelta(hours=3)  # more than clocks are ever set forward or back


def following(job: Job, after: datetime) -> datetime | None:
    """Return the first time later than `after` at which the job is due, UTC; None if never."""
    if job.every_s is not None:
        trigger = IntervalTrigger(seconds=job.every_s, start_date=job.created, timezone=UTC)
        # Without a previous time: the answer depends on nothing but the trigger and `after`.
        found = trigger.get_next_fire_time(None, after.astimezone(UTC) + _STEP)
        return None if found is None else found.astimezone(UTC)
    return _following_cron(job, after.astimezone(_zone(job.zone)))


def _following_cron(job: Job, after: datetime) -> datetime | None:
    """Return the first instant after `after`, which is in the job's zone, that a wall clock shows.

    Where the clocks change, a wall clock's order is not that of time: then all that it shows
    within `_CHANGE` is looked at.
    """
    trigger, twice = _wall(job), _runs_hourly(job)
    changes = (after - _CHANGE).utcoffset() != (after + 2 * _CHANGE).utcoffset()
    slack = _CHANGE if changes else timedelta(0)
    wall = after.replace(tzinfo=UTC, fold=0) - slack
    first: datetime | None = None
    last = datetime.max.replace(tzinfo=UTC)
    while (found := trigger.get_next_fire_time(None, wall + _STEP)) is not None and found <= last:
        wall = found
        for instant in _instants(wall, after.tzinfo, twice=twice):
            if instant > after and (first is None or instant < first):
                first = instant
                last = min(last, wall + slack)
    return first


def _instants(wall: datetime, zone: tzinfo | None, *, twice: bool) -> list[datetime]:
    """Return when clocks show a time: twice where they are set back; later where they skip it."""
    early, late = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return [early, late] if twice and late > early else [early]


def owed(job: Job, *, after: datetime, until: datetime) -> list[datetime]:
    """Return every time in (after, until] at which the job was due, in order."""
    found: list[datetime] = []
    last = max(after, job.created)
    while (last := following(job, last) or _never()) <= until:
        found.append(last)
    return found


def starts(job: Job, due: datetime) -> datetime:
    """Return when the run of a time may begin: the time, and its jitter."""
    digest = hashlib.sha256(f"{job.name} {due.astimezone(UTC).isoformat()}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return due + timedelta(seconds=round(share * job.jitter_s, 3))


def backoff_s(job: Job, failures: int) -> float:
    """Return how long to wait after so many failures, from 1; at most an hour, or the first."""
    return min(job.backoff_s * 2 ** (failures - 1), max(3600.0, job.backoff_s))


def check(job: Job) -> None:
    """Refuse a schedule that nobody can follow.

    Raises:
        JobError: It says what is wrong with it.
    """
    _zone(job.zone)
    if following(job, job.created) is None:
        raise JobError(f"{job.when!r} never comes.")


def cron_values(cron: str) -> list[list[int] | None]:
    """Return the values of the five fields, in order of `FIELDS`; None for any (`*`).

    Weekdays are 0 to 6 from Sunday on.

    Raises:
        JobError: It is no cron line, or restricts both days and weekdays.
    """
    words = cron.split()
    if len(words) != len(FIELDS):
        raise JobError(
            f"A cron line has five fields, {' '.join(FIELDS)}, as in '30 2 * * *'; got {cron!r}."
        )
    values = [_values(word, i, cron) for i, word in enumerate(words)]
    if values[2] is not None and values[4] is not None:
        raise JobError(
            f"{cron!r} names days and weekdays, which cron joins by or, and others by and. "
            "Name one of them, or add two jobs."
        )
    return values


def _wall(job: Job) -> CronTrigger:
    """Return the trigger over what a clock on the wall shows, told as if it were UTC."""
    minute, hour, day, month, weekday = cron_values(job.cron or "")
    return CronTrigger(
        minute=_text(minute), hour=_text(hour), day=_text(day), month=_text(month),
        day_of_week="*" if weekday is None else ",".join(_WEEKDAYS[i] for i in weekday),
        second=0, timezone=UTC,
    )  # fmt: skip


def _runs_hourly(job: Job) -> bool:
    return job.cron is None or cron_values(job.cron)[1] in (None, list(range(24)))


def _values(word: str, i: int, cron: str) -> list[int] | None:
    if word == "*":
        return None
    found: set[int] = set()
    low, high = _RANGES[i]
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise _wrong(word, i, cron)
        first, last, step = match.groups()
        begin = low if first == "*" else _number(first, i, cron)
        end = _number(last, i, cron) if last else begin
        if first == "*" or (step and not last):
            end = min(high, 6) if i == 4 else high
        if not low <= begin <= end <= high or step == "0":
            raise _wrong(word, i, cron)
        found.update(range(begin, end + 1, int(step or 1)))
    return sorted({one % 7 for one in found}) if i == 4 else sorted(found)


def _number(word: str, i: int, cron: str) -> int:
    if word.isdecimal():
        return int(word)
    if word.lower() in _NAMES[i]:
        return _NAMES[i].index(word.lower())
    raise _wrong(word, i, cron)


def _wrong(word: str, i: int, cron: str) -> JobError:
    low, high = _RANGES[i]
    return JobError(f"The {FIELDS[i]} of {cron!r} must lie in {low} to {high}, got {word!r}.")


def _text(values: list[int] | None) -> str:
    return "*" if values is None else ",".join(map(str, values))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise JobError(
            f"No time zone is named {name!r}. One looks like Europe/Berlin or UTC."
        ) from error


def _never() -> datetime:
    return datetime.max.replace(tzinfo=UTC)
