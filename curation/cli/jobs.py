"""The verbs of scheduled work: add, list, run, history, serve, remove, export."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from curation.cli.frame import (
    EXPECTED_ERROR,
    LabelerOption,
    ManifestOption,
    SeedOption,
    TaxonomyOption,
    app,
    connected,
    console,
    ensemble_for,
    errors,
    say,
    taxonomy_for,
)

if TYPE_CHECKING:
    from curation.jobs.history import History
    from curation.jobs.record import Job, Run
    from curation.jobs.runner import Context, Work
    from curation.settings import Settings

jobs = typer.Typer(
    help="Work that is done by the clock: each time once, with a history of what became of it.",
    no_args_is_help=True,
)
app.add_typer(jobs, name="jobs", epilog="Example: curate jobs list")

NameArgument = Annotated[str, typer.Argument(help="The job's name.")]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIGNS = {
    "done": "green", "running": "cyan", "due": "cyan", "waiting": "yellow", "refused": "yellow",
    "skipped": "yellow", "missed": "yellow", "failed": "red",
}  # fmt: skip


@jobs.command(
    epilog="Example: curate jobs add nightly site --watch /data/inbox --cron '30 2 * * *' "
    "--zone Europe/Berlin --labeler label-studio --budget 100"
)
def add(
    name: NameArgument,
    dataset: Annotated[str, typer.Argument(help="The dataset; made with the first images.")],
    kind: Annotated[
        Literal["nightly", "drift", "metric"],
        typer.Option(
            help="Rank and push the hardest; only say whether images drift; or guard the "
            "champion's live metric."
        ),
    ] = "nightly",
    cron: Annotated[
        str | None, typer.Option(help="Minute, hour, day, month, weekday, as in crontab.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="Instead of --cron: 90s, 15m, 6h or 1d.")
    ] = None,
    zone: Annotated[str, typer.Option(help="The time zone of --cron.")] = "UTC",
    watch: Annotated[
        Path | None, typer.Option(help="A folder whose new images are ingested first.")
    ] = None,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
    labeler: LabelerOption = "files",
    budget: Annotated[int, typer.Option("--budget", "-b", min=1, help="Samples a time.")] = 100,
    seed: SeedOption = 0,
    most_far: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Refuse to push when more new images are far off."),
    ] = 0.5,
    live: Annotated[
        Path | None, typer.Option(help="For --kind metric: the file of live checks.")
    ] = None,
    floor: Annotated[float, typer.Option(help="For --kind metric: the least allowed.")] = 0.9,
    jitter: Annotated[str, typer.Option(help="Begin up to so much later.")] = "0s",
    timeout: Annotated[str, typer.Option(help="The longest that an attempt may take.")] = "6h",
    retries: Annotated[int, typer.Option(min=0, help="Tries after the first.")] = 5,
    backoff: Annotated[str, typer.Option(help="Before the first retry; then doubled.")] = "1m",
    overlap: Annotated[
        Literal["queue", "skip"], typer.Option(help="When the time comes while it still runs.")
    ] = "queue",
    catch_up: Annotated[
        Literal["latest", "all", "none"], typer.Option(help="Of times while nobody watched.")
    ] = "latest",
    notify: Annotated[
        list[str] | None,
        typer.Option(help="Tell https://... or mailto:... when something is wrong. Repeatable."),
    ] = None,
    replace: Annotated[bool, typer.Option(help="Change the job of that name.")] = False,
) -> None:
    """Add a job. It is due from now on; `curate jobs serve`, or what `export` prints, runs it."""
    from curation.jobs import events, schedule
    from curation.jobs.record import Job, JobError

    if kind == "metric" and live is None:
        raise JobError("A metric job reads live checks: name their file with `--live`.")
    job = Job(
        name=name, kind=kind, created=datetime.now(UTC).replace(microsecond=0), cron=cron,
        every_s=None if every is None else _seconds(every), zone=zone, jitter_s=_seconds(jitter),
        options={
            "dataset": dataset, "watch": None if watch is None else str(watch.absolute()),
            "manifest": manifest, "taxonomy": taxonomy_for(manifest, taxonomy),
            "labeler": labeler, "budget": budget, "seed": seed, "most_far": most_far,
            "live": None if live is None else str(live.absolute()), "floor": floor,
        },
        timeout_s=_seconds(timeout), retries=retries, backoff_s=_seconds(backoff),
        overlap=overlap, catch_up=catch_up, notify=tuple(notify or ()),
    )  # fmt: skip
    schedule.check(job)
    for target in job.notify:
        events.check(target)
    with _history() as (history, _):
        history.add(job, replacing=replace)
    say(f"{name} is due {job.when}, next at {_local(schedule.following(job, job.created), job)}.")


@jobs.command("list", epilog="Example: curate jobs list")
def list_jobs() -> None:
    """Show all jobs: when each is due next, and what became of it last."""
    from curation.jobs import schedule

    now = datetime.now(UTC)
    table = _table("job", "kind", "due", "next", "last", "what became of it")
    with _history() as (history, _):
        for job in history.jobs():
            last = next(iter(history.runs(job.name, limit=1)), None)
            table.add_row(
                job.name, job.kind, job.when, _local(schedule.following(job, now), job),
                _local(last.due, job) if last else "", _became(last) if last else "",
            )  # fmt: skip
    console.print(table)


@jobs.command(epilog="Example: curate jobs history nightly --limit 7")
def history(
    name: Annotated[str | None, typer.Argument(help="Default: all jobs.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 20,
    log: Annotated[bool, typer.Option("--log", help="With what each logged.")] = False,
) -> None:
    """Show what became of each time that a job was due, the latest first."""
    table = _table("job", "due (UTC)", "state", "attempts", "took", "why", "told")
    with _history() as (kept, _):
        if name is not None:
            known = {one.name for one in kept.jobs()} | {
                one.job for one in kept.runs(name, limit=1)
            }
            if name not in known:
                kept.job(name)  # says which name is nearest
        found = kept.runs(name, limit=limit)
    for run in found:
        table.add_row(
            run.job, f"{run.due:%Y-%m-%d %H:%M:%S}", f"[{_SIGNS[run.state]}]{run.state}[/]",
            str(len(run.attempts)), _took(run), escape(_story(run)), escape("\n".join(run.told)),
        )  # fmt: skip
    console.print(table)
    for run in found if log else ():
        say(f"\n{run.job} {run.due:%Y-%m-%d %H:%M:%S} UTC")
        for line in run.log:
            say(f"  {line}")


@jobs.command(epilog="Example: curate jobs run nightly")
def run(
    name: NameArgument,
    owed: Annotated[
        bool,
        typer.Option("--owed", help="What the schedule owes, and nothing else: for cron."),
    ] = False,
    due: Annotated[
        str | None, typer.Option(help="The run of that time, ISO 8601, which is on record.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One attempt, however it ends.")] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Somebody has looked at the new images.")
    ] = False,
) -> None:
    """Run a job now, or what it owes; it is tried again until it is done or has failed."""
    from curation.jobs import runner, scheduler
    from curation.jobs.policy import Entry

    with _history() as (kept, settings), runner.stoppable():
        job = kept.job(name)
        work = _work(job, settings)
        if due is not None:
            wanted = [datetime.fromisoformat(due).astimezone(UTC)]
        elif owed:
            scheduler.note_owed(kept, job, now=datetime.now(UTC))
            wanted = [one.due for one in kept.unfinished(name)]
        else:
            wanted = [datetime.now(UTC).replace(microsecond=0)]
            facts = {"accepted": True} if accept_drift else {}
            kept.note(name, [Entry(wanted[0], "due")], scheduled=False, **facts)
        ended = [_to_its_end(kept, job, one, work, once=once) for one in wanted]
    for one in ended:
        say(f"{one.job} {one.due:%Y-%m-%d %H:%M:%S} UTC: {one.state}. {one.reason}")
    if not ended:
        say(f"{name} owes nothing.")
    if any(one.state in ("failed", "refused") for one in ended):
        raise typer.Exit(EXPECTED_ERROR)


@jobs.command(epilog="Example: curate jobs serve")
def serve(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Watch the clock and run what is due, until Ctrl-C. Several may run at once."""
    from curation.jobs import runner
    from curation.jobs.launching import Processes
    from curation.jobs.scheduler import Scheduler

    with _history() as (kept, _), runner.stoppable():
        processes = Processes()
        say(f"Watching {len(kept.jobs())} jobs.")
        try:
            Scheduler(kept, processes).serve(stop=lambda: False, every_s=every)
        except (runner.Stopped, KeyboardInterrupt):
            errors.print("Stopping. What is at work is told to end, and goes on next time.")
        finally:
            processes.stop()


@jobs.command(epilog="Example: curate jobs remove nightly")
def remove(name: NameArgument) -> None:
    """Remove a job. What is on record of its runs stays."""
    with _history() as (kept, _):
        kept.remove(name)
    say(f"removed: {name}")


@jobs.command(
    epilog="Example: curate jobs export nightly --as systemd --into ~/.config/systemd/user"
)
def export(
    name: NameArgument,
    form: Annotated[
        Literal["cron", "systemd", "kubernetes", "airflow", "prefect"], typer.Option("--as")
    ] = "cron",
    into: Annotated[
        Path | None, typer.Option(help="A folder to write into. Default: print.")
    ] = None,
    image: Annotated[
        str, typer.Option(help="For kubernetes: the container image that has `curate`.")
    ] = "curation:latest",
) -> None:
    """Write the job for another scheduler; no secret is in it."""
    from curation.jobs import export as forms
    from curation.jobs.launching import curate_command

    with _history() as (kept, _):
        job = kept.job(name)
    here = {one: os.environ[one] for one in forms.VARIABLES if one in os.environ}
    here = {one: value for one, value in here.items() if "@" not in value}  # a password
    if form == "systemd":
        files = forms.systemd(job, curate_command(), here)
    elif form == "kubernetes":
        files = {f"curation-{name}.yaml": forms.kubernetes(job, image)}
    elif form == "cron":
        files = {f"curation-{name}.cron": forms.cron(job, curate_command(), here)}
    else:
        files = {f"curation_{name.replace('-', '_')}_{form}.py": forms.SNIPPETS[form](job)}
    for file, text in files.items():
        if into is None:
            say(f"# {file}\n{text}" if len(files) > 1 else text.rstrip("\n"))
        else:
            into.mkdir(parents=True, exist_ok=True)
            (into / file).write_text(text)
            say(f"written: {into / file}")


@contextmanager
def _history() -> Iterator[tuple[History, Settings]]:
    """Give the record of jobs in the database of the settings."""
    from curation import database, mongod
    from curation.jobs.history import History

    settings = connected()
    uri = database.connect(settings).uri
    with mongod.client_of(uri) as client:
        kept = History(client[os.environ["FIFTYONE_DATABASE_NAME"]])
        kept.prepare()
        yield kept, settings


def _work(job: Job, settings: Settings) -> Work:
    """Return what a job does."""
    from curation.jobs import watching

    if job.kind == "metric":
        return lambda context: watching.metric(context, settings)
    return lambda context: _ranking(context, settings)


def _ranking(context: Context, settings: Settings) -> Mapping[str, Any]:
    from cascade import taxonomy as taxonomies
    from curation.jobs import nightly, watching
    from curation.labeling import backends

    wants = context.job.options
    night = nightly.Night(
        dataset=wants["dataset"],
        watched=Path(wants["watch"]) if wants["watch"] else None,
        taxonomy=taxonomies.load(wants["taxonomy"]),
        ensemble=lambda dataset: ensemble_for(dataset, settings, wants["manifest"], None),
        labeler=lambda dataset: backends.create(wants["labeler"], dataset, settings),
        budget=wants["budget"],
        settings=settings,
        most_far=wants["most_far"],
        seed=wants["seed"],
    )
    return (watching.drift if context.job.kind == "drift" else nightly.rank)(context, night)


def _to_its_end(kept: History, job: Job, due: datetime, work: Work, *, once: bool) -> Run:
    """Try a run until it is at its end, waiting in between; only once if so asked."""
    from curation.jobs import runner, scheduler
    from curation.jobs.record import JobError
    from curation.lease import LeaseError

    while True:
        found = kept.run(job.name, due)
        if found is None:
            raise JobError(f"Nothing of {job.name!r} is on record for {due.isoformat()}.")
        if not found.is_open:
            return found
        wait_s = (scheduler.starts_at(job, found) - datetime.now(UTC)).total_seconds()
        time.sleep(max(0.0, wait_s))
        patience_s = job.timeout_s if job.overlap == "queue" and not once else 0.0
        try:
            ended = runner.attempt(job, due, work, kept, wait_s=patience_s)
        except LeaseError as error:  # whoever has it carries the run to its end
            say(str(error))
            return kept.run(job.name, due) or found
        if once:
            return ended


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"A time is like 90s, 15m, 6h or 1d, got {text!r}.")
    return int(match[1]) * _UNITS[match[2]]


def _local(when: datetime | None, job: Job) -> str:
    from zoneinfo import ZoneInfo

    return (
        "never" if when is None else f"{when.astimezone(ZoneInfo(job.zone)):%a %Y-%m-%d %H:%M:%S}"
    )


def _became(run: Run) -> str:
    return escape(f"{run.state}: {run.reason}" if run.reason not in ("", "done") else run.state)


def _took(run: Run) -> str:
    if not run.attempts or run.attempts[-1].ended is None:
        return ""
    return f"{(run.attempts[-1].ended - run.attempts[0].began).total_seconds():.0f} s"


def _story(run: Run) -> str:
    """Return the outcome of every attempt, or why there was none."""
    tried = [f"{i}. {one.outcome or 'at work'}" for i, one in enumerate(run.attempts, start=1)]
    return "\n".join(tried) if len(tried) > 1 else run.reason or "".join(tried)


def _table(*headings: str) -> Table:
    """Return a table whose cells are folded where the terminal is narrow, never cut."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
