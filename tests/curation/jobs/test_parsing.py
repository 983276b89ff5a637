from datetime import UTC, datetime
from pathlib import Path

import pytest

from cascade.errors import CascadeError
from curation.jobs import parsing
from curation.jobs.models import JobError

NOW = datetime(2027, 3, 25, 12, 0, 0, 999, tzinfo=UTC)


def draft(**words):
    return parsing.parse_job("nightly", "site", now=NOW, **{"every": "1d"} | words)


def test_text_values_become_job():
    job = draft(
        every=None, cron="30 2 * * *", zone="Europe/Berlin", watch="/data/inbox",
        jitter="90s", timeout="2h", backoff="5m", notify=["https://example.org/hook"],
    )  # fmt: skip
    assert (job.cron, job.every_s, job.zone) == ("30 2 * * *", None, "Europe/Berlin")
    assert (job.jitter_s, job.timeout_s, job.backoff_s) == (90, 7200, 300)
    assert job.options["watch"] == "/data/inbox"
    assert job.options["taxonomy"] == "roadwork_core", "that of the manifest"
    assert job.created == NOW.replace(microsecond=0)


def test_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert draft(watch="inbox").options["watch"] == str(tmp_path / "inbox")


def test_bucket_address_is_unchanged():
    assert draft(watch="s3://bucket/prefix").options["watch"] == "s3://bucket/prefix"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21600), ("1d", 86400)]
)
def test_durations(text, seconds):
    assert parsing.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"every": "often"}, "like 90s, 15m, 6h or 1d, got 'often'"),
        ({"every": "-5m"}, "got '-5m'"),
        ({"every": None}, "either `--cron"),
        ({"every": "0s"}, "must be at least 1 s"),
        ({"cron": "0 2 * * *"}, "either `--cron"),
        ({"kind": "nightli"}, "Unknown kind 'nightli'. Did you mean 'nightly'"),
        ({"kind": "metric"}, "`--live`"),
        ({"kind": "metric", "live": Path("x"), "watch": "in"}, "omit `--watch`"),
        ({"overlap": "both"}, "Unknown overlap 'both'"),
        ({"catch_up": "some"}, "Unknown catch-up 'some'"),
        ({"labeler": "label-studioo"}, "label-studio"),
        ({"budget": 0}, "at least 1"),
        ({"most_far": 1.5}, r"in \[0, 1\]"),
        ({"notify": ["ada@example.org"]}, "mailto:ada@example.org"),
        ({"zone": "Mars"}, "Unknown time zone 'Mars'"),
    ],
)
def test_invalid_values_are_refused(words, says):
    with pytest.raises(JobError, match=says):
        draft(**words)


def test_job_without_dataset_is_refused():
    with pytest.raises(JobError, match="needs the name of a dataset"):
        parsing.parse_job("nightly", "", now=NOW, every="1d")


def test_unknown_manifest_is_refused():
    with pytest.raises(CascadeError, match="no_such"):
        draft(manifest="no_such")
