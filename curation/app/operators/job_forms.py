"""What the App shows of jobs, and what it asks of them: behind the doors of `schedule_jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cascade.errors import CascadeError
from curation.errors import CurationError
from curation.jobs import parsing, scheduler, table_cells
from curation.jobs.execution import subprocesses
from curation.jobs.models import Job, JobError
from curation.jobs.store import History
from curation.labeling import factory

DEFAULTS: Mapping[str, Any] = {
    "name": "nightly", "when": "30 2 * * *", "zone": "UTC", "budget": 100, "kind": "nightly",
    "manifest": "tiny", "labeler": "files", "watch": "", "notify": "",
}  # fmt: skip
TEXTS: Mapping[str, tuple[str, str, str | None]] = {  # label, description, default
    "name": ("Name", "Lower case, digits and hyphens", DEFAULTS["name"]),
    "dataset": ("Dataset", "What it works on", None),
    "when": (
        "When", "Minute, hour, day, month, weekday as in crontab; or a span such as 6h",
        DEFAULTS["when"],
    ),
    "zone": ("Time zone", "Such as Europe/Berlin", DEFAULTS["zone"]),
    "watch": ("Watched folder or bucket", "Its new images are ingested first", None),
    "notify": ("Notify", "https://... or mailto:..., separated by commas", None),
}  # fmt: skip
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "jobs": {
        "job": "Job", "dataset": "Dataset", "kind": "Kind", "due": "Due", "next": "Next",
        "last": "What became of it last",
    },
    "runs": {
        "job": "Job", "due": "Due (UTC)", "state": "State", "took": "Took",
        "story": "What became of it",
    },
}  # fmt: skip
_LATEST = 20  # runs that are shown


def history() -> History:
    """Return the record of jobs in the database that FiftyOne works in."""
    from fiftyone.core.odm import get_db_conn

    kept = History(get_db_conn())
    kept.prepare()
    return kept


def choices() -> dict[str, tuple[str, Sequence[str]]]:
    """Return what a form lets one choose from: the label, and the words."""
    from cascade import manifest

    return {
        "kind": ("Kind", ("nightly", "drift")),
        "manifest": ("Manifest", manifest.packaged_names()),
        "labeler": ("Labeler", factory.NAMES),
    }


def names() -> list[str]:
    """Return the names of all jobs, sorted."""
    return [one.name for one in history().jobs()]


def tables() -> dict[str, list[dict[str, str]]]:
    """Return the rows of two tables, `jobs` and `runs`, the latest run first."""
    kept, now = history(), datetime.now(UTC)
    rows = []
    for job in kept.jobs():
        last = next(iter(kept.runs(job.name, limit=1)), None)
        rows.append(
            {
                "job": job.name, "dataset": str(job.options.get("dataset", "")),
                "kind": job.kind, "due": job.when, "next": table_cells.coming(job, now),
                "last": table_cells.became(last) if last else "",
            }
        )  # fmt: skip
    runs = [
        {
            "job": one.job, "due": table_cells.due(one), "state": one.state,
            "took": table_cells.took(one), "story": table_cells.story(one),
        }
        for one in kept.runs(limit=_LATEST)
    ]  # fmt: skip
    return {"jobs": rows, "runs": runs}


def drafted(params: Mapping[str, Any], *, dataset: str, now: datetime) -> Job:
    """Return the job that a form describes; what it leaves out has a default.

    `when` is a cron line, or a span such as `6h`.

    Raises:
        JobError: It says what cannot be meant.
    """
    typed = {key: value for key, value in params.items() if value not in (None, "")}
    given = {"dataset": dataset, **DEFAULTS, **typed}
    when, watch = str(given["when"]).strip(), given["watch"]
    is_cron = " " in when
    try:
        return parsing.draft(
            given["name"], given["dataset"], now=now, kind=given["kind"],
            cron=when if is_cron else None, every=None if is_cron else when, zone=given["zone"],
            watch=watch or None, manifest=given["manifest"],
            labeler=given["labeler"], budget=given["budget"],
            notify=[one.strip() for one in given["notify"].split(",") if one.strip()],
        )  # fmt: skip
    except CascadeError as error:  # of a manifest
        raise JobError(str(error)) from error


def problem(params: Mapping[str, Any], *, dataset: str) -> str:
    """Return in a sentence what is wrong with a form, nothing where it can be added."""
    try:
        job = drafted(params, dataset=dataset, now=datetime.now(UTC))
    except CurationError as error:
        return str(error)
    if job.name in names():
        return f"A job is named {job.name!r} already. Remove it first, or choose another name."
    return ""


def add(params: Mapping[str, Any], *, dataset: str) -> str:
    """Keep the job that a form describes, and say when it is due first.

    Raises:
        JobError: It cannot be meant, or there is one of that name.
    """
    now = datetime.now(UTC)
    job = drafted(params, dataset=dataset, now=now)
    history().add(job)
    return f"{job.name} is due {job.when}, next at {table_cells.coming(job, now)}."


def run_now(name: str) -> str:
    """Have a job run once, beside its schedule, in a process that outlives the App; say so.

    Raises:
        JobError: There is no such job.
    """
    kept = history()
    due = scheduler.ask(kept, kept.job(name).name, now=datetime.now(UTC))
    subprocesses.apart(name, due)
    return f"{name} runs. What becomes of it is in the list of jobs."


def toggle(name: str) -> str:
    """Pause a job, or resume one that is paused, and say which.

    Raises:
        JobError: There is no such job.
    """
    kept = history()
    paused = not kept.job(name).paused
    scheduler.pause(kept, name, paused=paused, now=datetime.now(UTC))
    return f"{name} is paused." if paused else f"{name} is due again."


def remove(name: str) -> str:
    """Remove a job, and say so.

    Raises:
        JobError: There is no such job.
    """
    history().remove(name)
    return f"{name} is removed. What is on record of its runs stays."
