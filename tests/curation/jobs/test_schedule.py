from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.jobs import schedule
from curation.jobs.models import Job, JobError

BERLIN = ZoneInfo("Europe/Berlin")
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def job(**more):
    return Job(**{"name": "nightly", "kind": "nightly", "created": CREATED, **more})


def local(job, first, last):
    """Return the local times of (first, last] at which a job is due."""
    found = schedule.due_times(job, after=first, until=last)
    return [one.astimezone(BERLIN).strftime("%d %H:%M%z") for one in found]


def test_nightly_job_at_start_of_summer_time():
    nightly = job(cron="30 2 * * *", zone="Europe/Berlin")
    first, last = datetime(2027, 3, 26, 12, tzinfo=BERLIN), datetime(2027, 3, 30, 12, tzinfo=BERLIN)
    assert local(nightly, first, last) == [
        "27 02:30+0100", "28 03:30+0200", "29 02:30+0200", "30 02:30+0200",
    ]  # fmt: skip


def test_nightly_job_at_end_of_summer_time():
    nightly = job(cron="30 2 * * *", zone="Europe/Berlin")
    first = datetime(2027, 10, 29, 12, tzinfo=BERLIN)
    last = datetime(2027, 11, 2, 12, tzinfo=BERLIN)
    assert local(nightly, first, last) == [
        "30 02:30+0200", "31 02:30+0200", "01 02:30+0100", "02 02:30+0100",
    ]  # fmt: skip


def test_hourly_job_runs_in_repeated_hour():
    hourly = job(cron="0 * * * *", zone="Europe/Berlin")
    first = datetime(2027, 10, 31, 1, 30, tzinfo=BERLIN)
    assert local(hourly, first, first.astimezone(UTC) + timedelta(hours=4)) == [
        "31 02:00+0200", "31 02:00+0100", "31 03:00+0100", "31 04:00+0100",
    ]  # fmt: skip


def test_interval_counts_from_creation():
    often = job(every_s=6 * 3600)
    found = schedule.due_times(
        often,
        after=datetime(2027, 3, 27, 23, tzinfo=UTC),
        until=datetime(2027, 3, 28, 13, tzinfo=UTC),
    )
    assert [one.hour for one in found] == [0, 6, 12]
    assert all((one - CREATED).total_seconds() % (6 * 3600) == 0 for one in found)


@pytest.mark.parametrize(
    ("word", "weekday"), [("0", 6), ("7", 6), ("sun", 6), ("1", 0), ("sat", 5)], ids=str
)
def test_weekdays_follow_crontab(word, weekday):
    found = schedule.next_due(job(cron=f"0 2 * * {word}"), CREATED)
    assert found.weekday() == weekday


@pytest.mark.parametrize(
    ("cron", "values"),
    [
        ("*/15 2-4 * * *", [[0, 15, 30, 45], [2, 3, 4], None, None, None]),
        ("5/20 0 1,15 jan-mar *", [[5, 25, 45], [0], [1, 15], [1, 2, 3], None]),
        ("0 0 * * mon-fri", [[0], [0], None, None, [1, 2, 3, 4, 5]]),
        ("0 0 * * */2", [[0], [0], None, None, [0, 2, 4, 6]]),
        ("0 0 * * 5-7", [[0], [0], None, None, [0, 5, 6]]),
    ],
)
def test_cron_values(cron, values):
    assert schedule.cron_values(cron) == values


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cron": "30 2 * *"}, "five fields"),
        ({"cron": "60 2 * * *"}, "minute .* 0 to 59, got '60'"),
        ({"cron": "0 2 13 * fri"}, "both days and weekdays"),
        ({"cron": "0 2 * * *", "zone": "Europe/Belin"}, "Unknown time zone 'Europe/Belin'"),
        ({"cron": "0 2 30 2 *"}, "never comes"),
        ({"cron": "0 2 * * *", "every_s": 5}, "either `--cron"),
        ({}, "either `--cron"),
        ({"every_s": 0}, "must be at least 1 s"),
    ],
)
def test_invalid_schedule_is_refused(more, message):
    with pytest.raises(JobError, match=message):
        schedule.validate(job(**more))


def test_no_time_before_creation_is_due():
    assert (
        schedule.due_times(job(every_s=60), after=CREATED - timedelta(days=9), until=CREATED) == []
    )


def test_jitter_is_deterministic_and_spread():
    one, two = job(every_s=60, jitter_s=600), job(name="other", every_s=60, jitter_s=600)
    times = [CREATED + timedelta(minutes=i) for i in range(200)]
    delays = [(schedule.start_time(one, t) - t).total_seconds() for t in times]
    assert delays == [
        (schedule.start_time(one, t.astimezone(BERLIN)) - t).total_seconds() for t in times
    ]
    assert delays != [(schedule.start_time(two, t) - t).total_seconds() for t in times]
    assert 0 <= min(delays) < 60
    assert 540 < max(delays) <= 600


def test_backoff_doubles_up_to_an_hour():
    assert [schedule.backoff_s(job(every_s=60, backoff_s=60), i) for i in (1, 2, 3, 9)] == [
        60, 120, 240, 3600,
    ]  # fmt: skip


def test_midnight_after_clock_change_is_due():
    """APScheduler's own trigger goes from the 29th to the 31st."""
    nightly = job(cron="0 0 * * *", zone="Europe/Berlin")
    first = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    assert local(nightly, first, datetime(2026, 3, 31, 12, tzinfo=BERLIN)) == [
        "29 00:00+0100", "30 00:00+0200", "31 00:00+0200",
    ]  # fmt: skip


def test_half_hourly_job_continues_over_clock_change():
    often = job(cron="*/30 * * * *", zone="Europe/Berlin")
    first = datetime(2027, 3, 28, 0, tzinfo=UTC)
    found = schedule.due_times(often, after=first, until=first + timedelta(hours=3))
    assert [one - first for one in found] == [timedelta(minutes=30 * i) for i in range(1, 7)]
    first = datetime(2027, 10, 31, 0, tzinfo=UTC) - timedelta(hours=1)
    found = schedule.due_times(often, after=first, until=first + timedelta(hours=4))
    assert [one - first for one in found] == [timedelta(minutes=30 * i) for i in range(1, 9)]


@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    day=st.integers(0, 2000),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
    ),
)
def test_daily_job_is_due_once_per_local_day(minute, hour, day, zone):
    nightly = job(cron=f"{minute} {hour} * * *", zone=zone)
    noon = datetime(2026, 2, 1, 12, tzinfo=ZoneInfo(zone)) + timedelta(days=day)
    found = schedule.due_times(nightly, after=noon, until=noon + timedelta(days=7))
    days = [one.astimezone(ZoneInfo(zone)).date() for one in found]
    assert len(days) == len(set(days)) == 7
