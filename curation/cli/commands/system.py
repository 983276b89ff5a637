"""Commands for the installation: `app`, `doctor`, `db`, `plugins`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from curation.cli.app import (
    EXPECTED_ERROR,
    DatasetArgument,
    app,
    connect,
    console,
    open_dataset,
    say,
)
from curation.cli.tables import show_table
from curation.settings import from_environment

db = typer.Typer(help="Manage the embedded database.", epilog="Example: curate db status")
plugins_app = typer.Typer(
    help="Manage the operators in the FiftyOne App.", epilog="Example: curate plugins install"
)
TargetOption = Annotated[Path | None, typer.Option(help="Plugins folder of FiftyOne.")]

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}

app.add_typer(db, name="db")
app.add_typer(plugins_app, name="plugins")


@app.command("app", epilog="Example: curate app quickstart --port 5151")
def open_app(
    dataset: DatasetArgument,
    port: Annotated[int, typer.Option(help="Loopback port.")] = 5151,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the FiftyOne App on a dataset, until Ctrl-C."""
    from curation.app import plugins, server

    server.require_free_port(port)
    for path in plugins.install_missing():
        say(f"installed: {path}")
    settings = connect(dataset)
    samples = open_dataset(dataset, settings, None)
    server.serve(
        samples, port=port, browser=browser, on_ready=lambda url: say(f"The App is at {url}")
    )


@app.command(epilog="Example: curate doctor")
def doctor() -> None:
    """Check every part of the installation, and advise how to fix problems."""
    from curation.cli import diagnostics

    checks = diagnostics.check_all(from_environment())
    for check in checks:
        sign = f"[{_COLORS[check.status]}]{check.status:4}[/]"
        text = f"{sign}  [bold]{escape(check.name)}[/]: {escape(check.detail)}"
        console.print(text, highlight=False, soft_wrap=True)
        if check.fix:
            say(f"      Fix: {check.fix}")
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(EXPECTED_ERROR)


@db.command("start", epilog="Example: curate db start")
def start_database() -> None:
    """Start the embedded database, unless it is running."""
    from curation.storage.database import connection

    say(f"The embedded database runs at {connection.start(from_environment())}")


@db.command("stop", epilog="Example: curate db stop")
def stop_database() -> None:
    """Stop the embedded database; the next command that needs it starts it again."""
    from curation.storage.database import connection

    stopped = connection.stop(from_environment())
    say(f"The embedded database {'was stopped' if stopped else 'is not running'}.")


@db.command("status", epilog="Example: curate db status")
def database_status() -> None:
    """Show whether the embedded database runs, and where."""
    from curation.storage.database import connection

    settings = from_environment()
    status = connection.status(settings)
    say(
        f"The embedded database runs at {status.uri} (process {status.pid})."
        if status.uri
        else "The embedded database is not running; commands that need it start it."
    )
    say(f"Its files: {status.folder}")
    if settings.database_uri:
        say("It is not used: FIFTYONE_DATABASE_URI names another database.")


@plugins_app.command("install", epilog="Example: curate plugins install")
def install_plugins(
    target: TargetOption = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the folders instead of linking them.")
    ] = False,
) -> None:
    """Link the operators into FiftyOne's plugins folder."""
    from curation.app import plugins

    for path in plugins.install(target, copy=copy):
        say(f"installed: {path}")


@plugins_app.command("uninstall", epilog="Example: curate plugins uninstall")
def uninstall_plugins(target: TargetOption = None) -> None:
    """Remove the links or copies that `install` made."""
    from curation.app import plugins

    removed = plugins.uninstall(target)
    for path in removed:
        say(f"removed: {path}")
    if not removed:
        say("Nothing was installed.")


@plugins_app.command("list", epilog="Example: curate plugins list")
def list_plugins(target: TargetOption = None) -> None:
    """List the operators, and where they are installed."""
    from curation.app import plugins

    installed = {path.name: path for path in plugins.installed(target)}
    rows = []
    for name in sorted({*plugins.shipped_plugins(), *installed}):
        path = installed.get(name)
        state = "no: run `curate plugins install`" if path is None else str(path)
        if path is not None and not path.exists():
            state += " (dead link: install again)"
        rows.append((name, escape(state)))
    show_table(("plugin", "installed as"), rows)
