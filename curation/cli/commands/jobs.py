"""The verbs of scheduled work: add, list, run, history, serve, remove, export."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from curation.cli.app import (
    EXPECTED_ERROR,
    LabelerOption,
    ManifestOption,
    SeedOption,
    TaxonomyOption,
    app,
    connect,
    console,
    errors,
    say,
)
from curation.cli.commands.job_runner import to_its_end, work_of

if TYPE_CHECKING:
    from curation.jobs.store import History
    from curation.settings import Settings

jobs = typer.Typer(
    help="Work that is done by the clock: each time once, with a history of what became of it.",
    no_args_is_help=True,
)
app.add_typer(jobs, name="jobs", epilog="Example: curate jobs list")

NameArgument = Annotated[str, typer.Argument(help="The job's name.")]
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
        str | None,
        typer.Option(help="A folder, or s3://..., whose new images are ingested first."),
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
    from curation.jobs import parsing, table_cells

    now = datetime.now(UTC)
    job = parsing.draft(
        name, dataset, now=now, kind=kind, cron=cron, every=every, zone=zone,
        watch=watch, manifest=manifest, taxonomy=taxonomy, labeler=labeler, budget=budget,
        seed=seed, most_far=most_far, live=live, floor=floor, jitter=jitter, timeout=timeout,
        retries=retries, backoff=backoff, overlap=overlap, catch_up=catch_up, notify=notify or (),
    )  # fmt: skip
    with _history() as (history, _):
        history.add(job, replacing=replace)
    say(f"{name} is due {job.when}, next at {table_cells.coming(job, now)}.")


@jobs.command("list", epilog="Example: curate jobs list")
def list_jobs() -> None:
    """Show all jobs: when each is due next, and what became of it last."""
    from curation.jobs import table_cells

    now = datetime.now(UTC)
    table = _table("job", "kind", "due", "next", "last", "what became of it")
    with _history() as (history, _):
        for job in history.jobs():
            last = next(iter(history.runs(job.name, limit=1)), None)
            table.add_row(
                job.name, job.kind, job.when, table_cells.coming(job, now),
                table_cells.at(last.due, job) if last else "",
                escape(table_cells.became(last)) if last else "",
            )  # fmt: skip
    console.print(table)


@jobs.command(epilog="Example: curate jobs history nightly --limit 7")
def history(
    name: Annotated[str | None, typer.Argument(help="Default: all jobs.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 20,
    log: Annotated[bool, typer.Option("--log", help="With what each logged.")] = False,
) -> None:
    """Show what became of each time that a job was due, the latest first."""
    from curation.jobs import table_cells

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
            run.job, table_cells.due(run), f"[{_SIGNS[run.state]}]{run.state}[/]",
            str(len(run.attempts)), table_cells.took(run), escape(table_cells.story(run)),
            escape("\n".join(run.told)),
        )  # fmt: skip
    console.print(table)
    for run in found if log else ():
        say(f"\n{run.job} {table_cells.due(run)} UTC")
        for line in (*run.log, *run.result.get("artifacts", ())):
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
    from curation.jobs import scheduler, table_cells
    from curation.jobs.execution import runner

    with _history() as (kept, settings), runner.stoppable():
        job = kept.job(name)
        work = work_of(job, settings)
        if due is not None:
            wanted = [datetime.fromisoformat(due).astimezone(UTC)]
        elif owed:
            scheduler.note_owed(kept, job, now=datetime.now(UTC))
            wanted = [one.due for one in scheduler.to_run(kept, job)]
        else:
            facts = {"accepted": True} if accept_drift else {}
            wanted = [scheduler.ask(kept, name, now=datetime.now(UTC), **facts)]
        ended = [to_its_end(kept, job, one, work, once=once) for one in wanted]
    for one in ended:
        say(f"{one.job} {table_cells.due(one)} UTC: {one.state}. {one.reason}")
    if not ended:
        say(f"{name} owes nothing.")
    if any(one.state in ("failed", "refused") for one in ended):
        raise typer.Exit(EXPECTED_ERROR)


@jobs.command(epilog="Example: curate jobs serve")
def serve(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Watch the clock and run what is due, until Ctrl-C. Several may run at once."""
    from curation.jobs.execution import runner
    from curation.jobs.execution.subprocesses import Processes
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


@jobs.command(epilog="Example: curate jobs pause nightly")
def pause(name: NameArgument) -> None:
    """Let a job rest: its times pass, each on record as skipped. What runs goes on."""
    _set_paused(name, paused=True)
    say(f"paused: {name}")


@jobs.command(epilog="Example: curate jobs resume nightly")
def resume(name: NameArgument) -> None:
    """Let a paused job run again, from its next time on."""
    _set_paused(name, paused=False)
    say(f"resumed: {name}")


def _set_paused(name: str, *, paused: bool) -> None:
    from curation.jobs import scheduler

    with _history() as (kept, _):
        scheduler.pause(kept, name, paused=paused, now=datetime.now(UTC))


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
    from curation.jobs import exporters
    from curation.jobs.execution.subprocesses import curate_command

    with _history() as (kept, _):
        job = kept.job(name)
    here, left_out = exporters.here(os.environ)
    if left_out and form in ("cron", "systemd"):
        typer.echo(
            f"# Not written down, for it is secret: {', '.join(left_out)}. Put it where only the "
            "job's user reads it: $CURATION_SECRETS_DIR, a vault, or the scheduler's own "
            "environment.",
            err=True,
        )
    if form == "systemd":
        files = exporters.systemd(job, curate_command(), here)
    elif form == "kubernetes":
        files = {f"curation-{name}.yaml": exporters.kubernetes(job, image)}
    elif form == "cron":
        files = {f"curation-{name}.cron": exporters.cron(job, curate_command(), here)}
    else:
        files = {f"curation_{name.replace('-', '_')}_{form}.py": exporters.SNIPPETS[form](job)}
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
    from curation.jobs.store import History
    from curation.storage.database import connection, mongod

    settings = connect()
    uri = connection.connect(settings).uri
    with mongod.open_client(uri) as client:
        kept = History(client[os.environ["FIFTYONE_DATABASE_NAME"]])
        kept.prepare()
        yield kept, settings


def _table(*headings: str) -> Table:
    """Return a table whose cells are folded where the terminal is narrow, never cut."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
