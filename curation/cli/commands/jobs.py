"""Commands on scheduled jobs: add, list, history, run, serve, pause, resume, remove, export."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from curation.cli.app import (
    EXPECTED_ERROR,
    EngineOption,
    LabelerOption,
    ManifestOption,
    ModeOption,
    SeedOption,
    TaxonomyOption,
    app,
    connect,
    error_console,
    say,
)
from curation.cli.commands.job_runner import finish_run, work_of
from curation.cli.tables import show_table

if TYPE_CHECKING:
    from curation.jobs.store import JobStore
    from curation.settings import Settings

jobs = typer.Typer(
    help="Schedule jobs; each due time runs once, and its outcome is recorded.",
    no_args_is_help=True,
)
app.add_typer(jobs, name="jobs", epilog="Example: curate jobs list")

NameArgument = Annotated[str, typer.Argument(help="Name of the job.")]
_COLORS = {
    "done": "green", "running": "cyan", "due": "cyan", "waiting": "yellow", "refused": "yellow",
    "skipped": "yellow", "missed": "yellow", "failed": "red",
}  # fmt: skip


@jobs.command(
    epilog="Example: curate jobs add nightly site --watch /data/inbox --cron '30 2 * * *' "
    "--zone Europe/Berlin --labeler label-studio --budget 100"
)
def add(
    name: NameArgument,
    dataset: Annotated[str, typer.Argument(help="Dataset name; created with the first images.")],
    kind: Annotated[
        Literal["nightly", "drift", "metric"],
        typer.Option(
            help="nightly: rank and push the hardest samples; drift: check new images for drift; "
            "metric: guard the champion's live metric."
        ),
    ] = "nightly",
    cron: Annotated[
        str | None, typer.Option(help="Cron expression: minute, hour, day, month, weekday.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="Interval instead of --cron: 90s, 15m, 6h or 1d.")
    ] = None,
    zone: Annotated[str, typer.Option(help="Time zone for --cron.")] = "UTC",
    watch: Annotated[
        str | None,
        typer.Option(help="Folder or s3:// URL. New images in it are ingested before each run."),
    ] = None,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
    labeler: LabelerOption = "files",
    budget: Annotated[int, typer.Option("--budget", "-b", min=1, help="Samples per run.")] = 100,
    seed: SeedOption = 0,
    most_far: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of far images above which a run is refused."),
    ] = 0.5,
    mode: ModeOption = "routed",
    engine: EngineOption = "local",
    live: Annotated[
        Path | None, typer.Option(help="For --kind metric: file of live checks.")
    ] = None,
    floor: Annotated[
        float, typer.Option(help="For --kind metric: minimum of the live metric.")
    ] = 0.9,
    jitter: Annotated[str, typer.Option(help="Maximum start delay.")] = "0s",
    timeout: Annotated[str, typer.Option(help="Maximum duration of an attempt.")] = "6h",
    retries: Annotated[int, typer.Option(min=0, help="Maximum number of retries.")] = 5,
    backoff: Annotated[
        str, typer.Option(help="Delay before the first retry, then doubled.")
    ] = "1m",
    overlap: Annotated[
        Literal["queue", "skip"],
        typer.Option(help="What to do when a run is due while another is active."),
    ] = "queue",
    catch_up: Annotated[
        Literal["latest", "all", "none"],
        typer.Option(help="Which missed runs to make up."),
    ] = "latest",
    notify: Annotated[
        list[str] | None,
        typer.Option(help="Notification recipient: https://... or mailto:... Repeatable."),
    ] = None,
    replace: Annotated[bool, typer.Option(help="Replace an existing job of that name.")] = False,
) -> None:
    """Add a job, due from now on. `curate jobs serve` or an exported schedule runs it."""
    from curation.jobs import parsing, table_cells

    now = datetime.now(UTC)
    job = parsing.parse_job(
        name, dataset, now=now, kind=kind, cron=cron, every=every, zone=zone,
        watch=watch, manifest=manifest, taxonomy=taxonomy, labeler=labeler, budget=budget,
        seed=seed, most_far=most_far, mode=mode, engine=engine, live=live, floor=floor,
        jitter=jitter, timeout=timeout, retries=retries, backoff=backoff, overlap=overlap,
        catch_up=catch_up, notify=notify or (),
    )  # fmt: skip
    with _job_store() as (store, _):
        store.add(job, replacing=replace)
    say(f"{name} is due {job.when}, next at {table_cells.next_due(job, now)}.")


@jobs.command("list", epilog="Example: curate jobs list")
def list_jobs() -> None:
    """List all jobs with their next due time and last outcome."""
    from curation.jobs import table_cells

    now = datetime.now(UTC)
    rows = []
    with _job_store() as (store, _):
        for job in store.jobs():
            last = next(iter(store.runs(job.name, limit=1)), None)
            rows.append((
                job.name, job.kind, job.when, table_cells.next_due(job, now),
                table_cells.local_time(last.due, job) if last else "",
                escape(table_cells.outcome(last)) if last else "",
            ))  # fmt: skip
    show_table(("job", "kind", "schedule", "next", "last", "outcome"), rows)


@jobs.command(epilog="Example: curate jobs history nightly --limit 7")
def history(
    name: Annotated[str | None, typer.Argument(help="Name of the job. Default: all jobs.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of runs.")] = 20,
    log: Annotated[bool, typer.Option("--log", help="Also print the logs.")] = False,
) -> None:
    """Show the recorded runs, latest first."""
    from curation.jobs import table_cells

    with _job_store() as (store, _):
        runs = store.runs(name, limit=limit)
        if name is not None and not runs:
            store.job(name)  # raises an error for an unknown name
    rows = [
        (
            f"{run.job} {table_cells.due(run)}", f"[{_COLORS[run.state]}]{run.state}[/]",
            str(len(run.attempts)), table_cells.duration(run),
            escape(table_cells.attempt_outcomes(run)), escape("\n".join(run.notices)),
        )
        for run in runs
    ]  # fmt: skip
    show_table(("run (UTC)", "state", "attempts", "duration", "outcome", "notices"), rows)
    for run in runs if log else ():
        say(f"\n{run.job} {table_cells.due(run)} UTC")
        for line in (*run.log, *run.result.get("artifacts", ())):
            say(f"  {line}")


@jobs.command(epilog="Example: curate jobs run nightly")
def run(
    name: NameArgument,
    owed: Annotated[
        bool,
        typer.Option("--owed", help="Run only what is due by the schedule. For use with cron."),
    ] = False,
    due: Annotated[
        str | None, typer.Option(help="Scheduled time of a recorded run, in ISO 8601 format.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Make a single attempt.")] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Accept new images that have drifted.")
    ] = False,
) -> None:
    """Run a job now, or its due times, with retries until it is done or has failed."""
    from curation.jobs import scheduler, table_cells
    from curation.jobs.execution import runner

    with _job_store() as (store, settings), runner.stop_on_sigterm():
        job = store.job(name)
        work = work_of(job, settings)
        if due is not None:
            due_times = [datetime.fromisoformat(due).astimezone(UTC)]
        elif owed:
            scheduler.record_due_times(store, job, now=datetime.now(UTC))
            due_times = [run.due for run in scheduler.runs_to_finish(store, job)]
        else:
            facts = {"accepted": True} if accept_drift else {}
            due_times = [scheduler.request_run(store, name, now=datetime.now(UTC), **facts)]
        runs = [finish_run(store, job, due_time, work, once=once) for due_time in due_times]
    for run in runs:
        say(f"{run.job} {table_cells.due(run)} UTC: {run.state}. {run.reason}")
    if not runs:
        say(f"No run of {name} is due.")
    if any(run.state in ("failed", "refused") for run in runs):
        raise typer.Exit(EXPECTED_ERROR)


@jobs.command(epilog="Example: curate jobs serve")
def serve(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two polls.")] = 1.0,
) -> None:
    """Run the scheduler until Ctrl-C. Several schedulers may run in parallel."""
    from curation.jobs.execution import runner
    from curation.jobs.execution.subprocesses import SubprocessLauncher
    from curation.jobs.scheduler import Scheduler

    with _job_store() as (store, _), runner.stop_on_sigterm():
        launcher = SubprocessLauncher()
        say(f"Scheduling {len(store.jobs())} jobs.")
        try:
            Scheduler(store, launcher).serve(stop=lambda: False, every_s=every)
        except (runner.Stopped, KeyboardInterrupt):
            error_console.print("Stopping. Active runs are interrupted and continue next time.")
        finally:
            launcher.stop()


@jobs.command(epilog="Example: curate jobs pause nightly")
def pause(name: NameArgument) -> None:
    """Pause a job: its due times are recorded as skipped. An active run continues."""
    _set_paused(name, paused=True)
    say(f"paused: {name}")


@jobs.command(epilog="Example: curate jobs resume nightly")
def resume(name: NameArgument) -> None:
    """Resume a paused job from its next due time."""
    _set_paused(name, paused=False)
    say(f"resumed: {name}")


def _set_paused(name: str, *, paused: bool) -> None:
    from curation.jobs import scheduler

    with _job_store() as (store, _):
        scheduler.set_paused(store, name, paused=paused, now=datetime.now(UTC))


@jobs.command(epilog="Example: curate jobs remove nightly")
def remove(name: NameArgument) -> None:
    """Remove a job. Records of its runs are kept."""
    with _job_store() as (store, _):
        store.remove(name)
    say(f"removed: {name}")


@jobs.command(
    epilog="Example: curate jobs export nightly --as systemd --into ~/.config/systemd/user"
)
def export(
    name: NameArgument,
    target: Annotated[
        Literal["cron", "systemd", "kubernetes", "airflow", "prefect"],
        typer.Option("--as", help="Scheduler to export to."),
    ] = "cron",
    into: Annotated[
        Path | None, typer.Option(help="Output folder. Default: print to stdout.")
    ] = None,
    image: Annotated[
        str, typer.Option(help="For kubernetes: container image with `curate`.")
    ] = "curation:latest",
) -> None:
    """Export a job to another scheduler, without secrets."""
    from curation.jobs import exporters
    from curation.jobs.execution.subprocesses import curate_command

    with _job_store() as (store, _):
        job = store.job(name)
    environment, secret = exporters.exportable_variables(os.environ)
    if secret and target in ("cron", "systemd"):
        typer.echo(
            f"# Not exported, because they are secret: {', '.join(secret)}. Store them where only "
            "the job's user can read them: $CURATION_SECRETS_DIR, a vault, or the scheduler's "
            "environment.",
            err=True,
        )
    files = exporters.export(job, target, curate_command(), environment, image=image)
    for file, text in files.items():
        if into is None:
            say(f"# {file}\n{text}" if len(files) > 1 else text.rstrip("\n"))
        else:
            into.mkdir(parents=True, exist_ok=True)
            (into / file).write_text(text)
            say(f"written: {into / file}")


@contextmanager
def _job_store() -> Iterator[tuple[JobStore, Settings]]:
    """Yield the job store in the database of the settings, and the settings."""
    from curation.jobs.store import JobStore
    from curation.storage.database import connection, mongod

    settings = connect()
    uri = connection.connect(settings).uri
    with mongod.open_client(uri) as client:
        store = JobStore(client[os.environ["FIFTYONE_DATABASE_NAME"]])
        store.prepare()
        yield store, settings
