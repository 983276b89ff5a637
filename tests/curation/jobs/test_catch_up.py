from datetime import UTC, datetime, timedelta

import pytest

from curation.jobs import catch_up as policy
from curation.jobs.models import Job

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = [CREATED + timedelta(days=i) for i in (1, 2, 3)]
NOW = TIMES[-1] + timedelta(hours=5)


def states(*, unfinished=None, now=NOW, **more):
    job = Job(name="nightly", kind="nightly", created=CREATED, every_s=86400, **more)
    found = policy.plan(job, TIMES, now=now, unfinished=unfinished)
    assert [one.due for one in found] == TIMES
    assert all(one.reason for one in found if one.state != "due")
    return [one.state for one in found]


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("latest", ["missed", "missed", "due"]),
        ("all", ["due", "due", "due"]),
        ("none", ["missed", "missed", "missed"]),
    ],
)
def test_catch_up_after_three_days(catch_up, expected):
    assert states(catch_up=catch_up) == expected


def test_time_within_grace_is_due():
    assert states(catch_up="none", now=TIMES[-1] + timedelta(seconds=2))[-1] == "due"


def test_overlap_with_unfinished_run():
    assert states(unfinished=CREATED, overlap="skip") == ["missed", "missed", "skipped"]
    assert states(unfinished=CREATED, overlap="queue") == ["missed", "missed", "due"]


def test_caught_up_times_overlap_with_first():
    assert states(catch_up="all", overlap="skip") == ["due", "skipped", "skipped"]
