"""A job from the words that people type: at a prompt, or in a form of the App.

Whatever is wrong with them is said now, and not in the first night.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast, get_args

from cascade.errors import nearest
from curation.jobs import notifications, schedule
from curation.jobs.models import CatchUp, Job, JobError, Kind, Overlap
from curation.jobs.nightly import bucket_sync
from curation.labeling import factory

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def draft(
    name: str,
    dataset: str,
    *,
    now: datetime,
    kind: str = "nightly",
    cron: str | None = None,
    every: str | None = None,
    zone: str = "UTC",
    watch: str | None = None,
    manifest: str = "tiny",
    taxonomy: str | None = None,
    labeler: str = "files",
    budget: int = 100,
    seed: int = 0,
    most_far: float = 0.5,
    live: Path | None = None,
    floor: float = 0.9,
    jitter: str = "0s",
    timeout: str = "6h",
    retries: int = 5,
    backoff: str = "1m",
    overlap: str = "queue",
    catch_up: str = "latest",
    notify: Sequence[str] = (),
) -> Job:
    """Return the job that is meant. Spans are like `90s`, `15m`, `6h` or `1d`.

    Args:
        name: Of the job.
        dataset: What it works on; made with the first images.
        now: Nothing before is owed.
        kind: Rank and push the hardest, only say whether images drift, or guard the champion.
        cron: Minute, hour, day, month, weekday.
        every: A span, instead of `cron`.
        zone: The time zone of `cron`.
        watch: A folder, or the address of a bucket, whose new images are ingested first.
        manifest: A packaged manifest, or a YAML file.
        taxonomy: What the dataset is ingested with; None for the manifest's own.
        labeler: Where the hardest go.
        budget: Samples a time.
        seed: Of the random arm.
        most_far: Share of far images from which a night is refused.
        live: For `metric`: the file of live checks.
        floor: For `metric`: the least allowed.
        jitter: The most that a run begins later, a span.
        timeout: The longest that an attempt may take, a span.
        retries: Tries after the first.
        backoff: Before the first retry, a span.
        overlap: See `record.Job`.
        catch_up: See `record.Job`.
        notify: Who is told when something is wrong.

    Raises:
        JobError: It says what cannot be meant.
        ManifestError: There is no such manifest, or it is wrong.
    """
    from cascade import manifest as manifests

    if not dataset:
        raise JobError("Name the dataset that the job works on.")
    if labeler not in factory.NAMES:
        raise JobError(f"Nothing labels as {labeler!r}. {nearest(labeler, factory.NAMES)}")
    if kind == "metric" and live is None:
        raise JobError("A metric job reads live checks: name their file with `--live`.")
    if kind == "metric" and watch:
        raise JobError("A metric job brings in no images: leave `--watch` out.")
    if budget < 1 or not 0.0 <= most_far <= 1.0:
        raise JobError(
            f"The budget is at least 1, and a share lies in [0, 1]; got {budget} and {most_far}."
        )
    own = manifests.load(manifest).taxonomy
    job = Job(
        name=name,
        kind=cast(Kind, _one_of(kind, get_args(Kind), "kind")),
        created=now.replace(microsecond=0),
        cron=cron or None,
        every_s=seconds(every) if every else None,
        zone=zone,
        jitter_s=seconds(jitter),
        options={
            "dataset": dataset, "watch": _place(watch) if watch else None,
            "manifest": manifest, "taxonomy": taxonomy or own, "labeler": labeler,
            "budget": budget, "seed": seed, "most_far": most_far,
            "live": None if live is None else str(live.absolute()), "floor": floor,
        },
        timeout_s=seconds(timeout),
        retries=retries,
        backoff_s=seconds(backoff),
        overlap=cast(Overlap, _one_of(overlap, get_args(Overlap), "overlap")),
        catch_up=cast(CatchUp, _one_of(catch_up, get_args(CatchUp), "catch-up")),
        notify=tuple(notify),
    )  # fmt: skip
    schedule.check(job)
    for target in job.notify:
        notifications.check(target)
    return job


def seconds(text: str) -> int:
    """Return the seconds of a span.

    Raises:
        JobError: It is none.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise JobError(f"A time is like 90s, 15m, 6h or 1d, got {text!r}.")
    return int(match[1]) * _UNITS[match[2]]


def _place(watch: str) -> str:
    return watch if bucket_sync.is_address(watch) else str(Path(watch).absolute())


def _one_of(word: str, known: Sequence[str], what: str) -> str:
    if word not in known:
        raise JobError(f"No {what} is named {word!r}. {nearest(word, known)}")
    return word
