"""The verbs around the stages: app, doctor, db, manifest, plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from curation.cli.app import (
    EXPECTED_ERROR,
    DatasetArgument,
    app,
    connected,
    console,
    dataset_of,
    say,
)
from curation.settings import from_environment

db = typer.Typer(help="Our own database.", epilog="Example: curate db status")
plugins_app = typer.Typer(
    help="The operators in the FiftyOne App.", epilog="Example: curate plugins install"
)
TargetOption = Annotated[Path | None, typer.Option(help="FiftyOne's plugins folder.")]

app.add_typer(db, name="db")
app.add_typer(plugins_app, name="plugins")


@app.command("app", epilog="Example: curate app quickstart --port 5151")
def open_app(
    dataset: DatasetArgument,
    port: Annotated[int, typer.Option(help="On the loopback address.")] = 5151,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the FiftyOne App on a dataset. Ctrl-C closes it."""
    from curation.app import plugins, server

    server.expect_free(port)
    for path in plugins.install_missing():
        say(f"installed: {path}")
    settings = connected(dataset)
    samples = dataset_of(dataset, settings, None)
    server.serve(samples, port=port, browser=browser, ready=lambda url: say(f"The App is at {url}"))


@app.command(epilog="Example: curate doctor")
def doctor() -> None:
    """Check every part of the installation, and say how to mend what is missing."""
    from curation.cli import diagnostics

    found = diagnostics.check_all(from_environment())
    table = _table("", "part", "what was found", "how to mend it")
    signs = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}
    for one in found:
        table.add_row(
            signs[one.status], escape(one.name), escape(one.detail), escape(one.mend or "")
        )
    console.print(table)
    if any(one.status == "fail" for one in found):
        raise typer.Exit(EXPECTED_ERROR)


@db.command("start", epilog="Example: curate db start")
def start_database() -> None:
    """Start our own database, or find the one that is running."""
    from curation.storage.database import connection

    say(f"Our database runs at {connection.start(from_environment())}")


@db.command("stop", epilog="Example: curate db stop")
def stop_database() -> None:
    """Stop our own database; the next command that needs it starts it again."""
    from curation.storage.database import connection

    ran = connection.stop(from_environment())
    say("Our database was stopped." if ran else "Our database does not run.")


@db.command("status", epilog="Example: curate db status")
def database_status() -> None:
    """Say whether our own database runs, and where."""
    from curation.storage.database import connection

    settings = from_environment()
    found = connection.status(settings)
    say(
        f"Our database runs at {found.uri} (process {found.pid})."
        if found.uri
        else "Our database does not run; a command that needs it starts it."
    )
    say(f"Its files: {found.folder}")
    if settings.database_uri:
        say("Commands do not use it: they work where FIFTYONE_DATABASE_URI says.")


@plugins_app.command("install", epilog="Example: curate plugins install")
def install_plugins(
    target: TargetOption = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the folders, where links are refused or lost.")
    ] = False,
) -> None:
    """Link our operators into FiftyOne's plugins folder."""
    from curation.app import plugins

    for path in plugins.install(target, copy=copy):
        say(f"installed: {path}")


@plugins_app.command("uninstall", epilog="Example: curate plugins uninstall")
def uninstall_plugins(target: TargetOption = None) -> None:
    """Remove what `install` put there."""
    from curation.app import plugins

    removed = plugins.uninstall(target)
    for path in removed:
        say(f"removed: {path}")
    if not removed:
        say("Nothing of ours was there.")


@plugins_app.command("list", epilog="Example: curate plugins list")
def list_plugins(target: TargetOption = None) -> None:
    """Show our operators, and where they are installed."""
    from curation.app import plugins

    there = {place.name: place for place in plugins.installed(target)}
    table = _table("plugin", "installed as")
    for verb in sorted({*plugins.plugins(), *there}):
        place = there.get(verb)
        dead = place is not None and not place.exists()
        where = "no: run `curate plugins install`" if place is None else str(place)
        table.add_row(verb, escape(where + (" (a dead link: install again)" if dead else "")))
    console.print(table)


def _table(*headings: str) -> Table:
    """Return a table whose cells are folded where the terminal is narrow, never cut."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
