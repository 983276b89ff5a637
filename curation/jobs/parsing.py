"""Jobs from text values, as typed at a prompt or into a form of the App.

Invalid values are reported when the job is added, not when it first runs.
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


def parse_job(
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
    mode: str = "routed",
    engine: str = "local",
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
    """Return a validated job. Durations are like `90s`, `15m`, `6h` or `1d`.

    Args:
        name: Name of the job.
        dataset: Name of the dataset; created with the first images.
        now: Creation time of the job.
        kind: `nightly` (rank and push), `drift` or `metric` (monitors).
        cron: Cron expression: minute, hour, day, month, weekday.
        every: Interval, a duration, instead of `cron`.
        zone: Time zone of `cron`.
        watch: Folder or bucket address whose new images are ingested first.
        manifest: Name of a packaged manifest, or a YAML file.
        taxonomy: Taxonomy to ingest with; None for the manifest's.
        labeler: Labeler that receives the batch.
        budget: Samples per run.
        seed: Random seed for selection.
        most_far: Share of far images above which a run is refused.
        mode: Deep tiers where the cascade is unsure (`routed`), or on every sample (`full`).
        engine: Engine of the detectors: `local`, or `ray` for a cluster.
        live: File of live checks, for `metric`.
        floor: Minimum of the live metric, for `metric`.
        jitter: Maximum delay of a run, a duration.
        timeout: Maximum duration of an attempt.
        retries: Maximum number of retries.
        backoff: Delay before the first retry, a duration.
        overlap: See `models.Job`.
        catch_up: See `models.Job`.
        notify: Recipients of failure notices.

    Raises:
        JobError: A value is invalid.
        ManifestError: The manifest does not exist or is invalid.
    """
    from cascade import manifest as manifests

    if not dataset:
        raise JobError("A job needs the name of a dataset.")
    if kind == "metric" and live is None:
        raise JobError("A metric job needs a file of live checks: `--live`.")
    if kind == "metric" and watch:
        raise JobError("A metric job ingests no images: omit `--watch`.")
    if budget < 1 or not 0.0 <= most_far <= 1.0:
        raise JobError(
            "The budget must be at least 1 and the share of far images in [0, 1]; "
            f"got {budget} and {most_far}."
        )
    default_taxonomy = manifests.load(manifest).taxonomy  # also refuses an invalid manifest
    job = Job(
        name=name,
        kind=cast(Kind, _choice(kind, get_args(Kind), "kind")),
        created=now.replace(microsecond=0),
        cron=cron or None,
        every_s=parse_duration(every) if every else None,
        zone=zone,
        jitter_s=parse_duration(jitter),
        options={
            "dataset": dataset, "watch": _absolute(watch) if watch else None,
            "manifest": manifest, "taxonomy": taxonomy or default_taxonomy,
            "labeler": _choice(labeler, factory.NAMES, "labeler"),
            "budget": budget, "seed": seed, "most_far": most_far,
            "mode": _choice(mode, ("full", "routed"), "mode"),
            "engine": _choice(engine, ("local", "ray"), "engine"),
            "live": None if live is None else str(live.absolute()), "floor": floor,
        },
        timeout_s=parse_duration(timeout),
        retries=retries,
        backoff_s=parse_duration(backoff),
        overlap=cast(Overlap, _choice(overlap, get_args(Overlap), "overlap")),
        catch_up=cast(CatchUp, _choice(catch_up, get_args(CatchUp), "catch-up")),
        notify=tuple(notify),
    )  # fmt: skip
    schedule.validate(job)
    for target in job.notify:
        notifications.validate_target(target)
    return job


def parse_duration(text: str) -> int:
    """Return the seconds of a duration such as `15m`.

    Raises:
        JobError: The text is not a duration.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise JobError(f"A duration must be like 90s, 15m, 6h or 1d, got {text!r}.")
    return int(match[1]) * _UNITS[match[2]]


def _absolute(watch: str) -> str:
    return watch if bucket_sync.is_address(watch) else str(Path(watch).absolute())


def _choice(word: str, choices: Sequence[str], option: str) -> str:
    if word not in choices:
        raise JobError(f"Unknown {option} {word!r}. {nearest(word, choices)}")
    return word
