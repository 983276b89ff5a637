"""Form inputs, tables and actions of the operators for scheduled jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cascade import manifest
from cascade.errors import CascadeError
from curation.errors import CurationError
from curation.jobs import parsing, scheduler, table_cells
from curation.jobs.execution import subprocesses
from curation.jobs.models import Job, JobError
from curation.jobs.store import JobStore
from curation.labeling import factory

DEFAULTS: Mapping[str, Any] = {
    "name": "nightly", "when": "30 2 * * *", "zone": "UTC", "budget": 100, "kind": "nightly",
    "manifest": "tiny", "labeler": "files", "watch": "", "notify": "",
}  # fmt: skip
TEXT_INPUTS: Mapping[str, tuple[str, str]] = {  # label and description
    "name": ("Name", "Lower case, digits and hyphens"),
    "dataset": ("Dataset", "Dataset of the job"),
    "when": (
        "Schedule",
        "Minute, hour, day, month, weekday as in crontab; or an interval such as 6h",
    ),
    "zone": ("Time zone", "Such as Europe/Berlin"),
    "watch": ("Watched folder or bucket", "New images are ingested before each run"),
    "notify": ("Notify", "https://... or mailto:..., separated by commas"),
}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "jobs": {
        "job": "Job", "dataset": "Dataset", "kind": "Kind", "due": "Schedule", "next": "Next run",
        "last": "Last result",
    },
    "runs": {
        "job": "Job", "due": "Due (UTC)", "state": "State", "took": "Duration", "story": "Result",
    },
}  # fmt: skip
_MAX_RUNS = 20


def history() -> JobStore:
    """Return the store of jobs in FiftyOne's database."""
    from fiftyone.core.odm import get_db_conn

    store = JobStore(get_db_conn())
    store.prepare()
    return store


def choices() -> dict[str, tuple[str, Sequence[str]]]:
    """Return the label and the values of each dropdown."""
    return {
        "kind": ("Kind", ("nightly", "drift")),
        "manifest": ("Manifest", manifest.packaged_names()),
        "labeler": ("Labeler", factory.NAMES),
    }


def names() -> list[str]:
    """Return the names of all jobs, sorted."""
    return [job.name for job in history().jobs()]


def tables() -> dict[str, list[dict[str, str]]]:
    """Return the rows of the tables `jobs` and `runs`, the latest run first."""
    store, now = history(), datetime.now(UTC)
    jobs = []
    for job in store.jobs():
        last = next(iter(store.runs(job.name, limit=1)), None)
        jobs.append(
            {
                "job": job.name, "dataset": str(job.options.get("dataset", "")),
                "kind": job.kind, "due": job.when, "next": table_cells.next_due(job, now),
                "last": table_cells.outcome(last) if last else "",
            }
        )  # fmt: skip
    runs = [
        {
            "job": run.job, "due": table_cells.due(run), "state": run.state,
            "took": table_cells.duration(run), "story": table_cells.attempt_outcomes(run),
        }
        for run in store.runs(limit=_MAX_RUNS)
    ]  # fmt: skip
    return {"jobs": jobs, "runs": runs}


def draft(params: Mapping[str, Any], *, dataset: str, now: datetime) -> Job:
    """Return the job that a form describes; missing parameters have defaults.

    Args:
        params: Parameters of the form; `when` is a cron line, or an interval such as `6h`.
        dataset: Default dataset.
        now: Current time.

    Raises:
        JobError: A parameter is invalid.
    """
    entered = {key: value for key, value in params.items() if value not in (None, "")}
    values = {"dataset": dataset, **DEFAULTS, **entered}
    when, watch = str(values["when"]).strip(), values["watch"]
    is_cron = " " in when
    try:
        return parsing.parse_job(
            values["name"], values["dataset"], now=now, kind=values["kind"],
            cron=when if is_cron else None, every=None if is_cron else when, zone=values["zone"],
            watch=watch or None, manifest=values["manifest"],
            labeler=values["labeler"], budget=values["budget"],
            notify=[part.strip() for part in values["notify"].split(",") if part.strip()],
        )  # fmt: skip
    except CascadeError as error:  # invalid manifest
        raise JobError(str(error)) from error


def find_error(params: Mapping[str, Any], *, dataset: str) -> str:
    """Return the error of a form, "" if the job can be added."""
    try:
        job = draft(params, dataset=dataset, now=datetime.now(UTC))
    except CurationError as error:
        return str(error)
    if job.name in names():
        return f"A job is named {job.name!r} already. Remove it first, or choose another name."
    return ""


def add(params: Mapping[str, Any], *, dataset: str) -> str:
    """Add the job that a form describes, and return a message with its first run.

    Raises:
        JobError: A parameter is invalid, or the name is taken.
    """
    now = datetime.now(UTC)
    job = draft(params, dataset=dataset, now=now)
    history().add(job)
    return f"{job.name} is due {job.when}, next at {table_cells.next_due(job, now)}."


def run_now(name: str) -> str:
    """Run a job once outside its schedule, in a process that outlives the App.

    Raises:
        JobError: The job does not exist.
    """
    store = history()
    due = scheduler.request_run(store, store.job(name).name, now=datetime.now(UTC))
    subprocesses.start_detached(name, due)
    return f"{name} is running. Its result appears in the list of jobs."


def toggle_pause(name: str) -> str:
    """Pause a job, or resume a paused one, and return a message.

    Raises:
        JobError: The job does not exist.
    """
    store = history()
    paused = not store.job(name).paused
    scheduler.set_paused(store, name, paused=paused, now=datetime.now(UTC))
    return f"{name} is paused." if paused else f"{name} is resumed."


def remove(name: str) -> str:
    """Remove a job, and return a message.

    Raises:
        JobError: The job does not exist.
    """
    history().remove(name)
    return f"{name} is removed. The records of its runs stay."
