"""The verbs around the stages: app, doctor, db, manifest, plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from curation.cli.frame import (
    EXPECTED_ERROR,
    DatasetArgument,
    app,
    connected,
    console,
    dataset_of,
)
from curation.settings import from_environment

db = typer.Typer(help="The database: ours, or the one that FIFTYONE_DATABASE_URI names.")
manifest_app = typer.Typer(help="The ensemble as one file.")
plugins_app = typer.Typer(help="The operators in the FiftyOne App.")
app.add_typer(db, name="db")
app.add_typer(manifest_app, name="manifest")
app.add_typer(plugins_app, name="plugins")


@app.command("app", epilog="Example: curate app quickstart --port 5151")
def open_app(
    dataset: DatasetArgument,
    port: Annotated[int, typer.Option(help="On the loopback address.")] = 5151,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the FiftyOne App on a dataset. Ctrl-C closes it."""
    from curation import app_server

    settings = connected(dataset)
    samples = dataset_of(dataset, settings, None)
    console.print(f"The App is at [bold]http://127.0.0.1:{port}/datasets/{samples.name}[/]")
    app_server.serve(samples, port=port, browser=browser)


@app.command(epilog="Example: curate doctor")
def doctor() -> None:
    """Check every part of the installation, and say how to mend what is missing."""
    from curation import doctor as checks

    found = checks.check_all(from_environment())
    table = Table("", "part", "what was found", "how to mend it", box=None)
    signs = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}
    for one in found:
        table.add_row(signs[one.status], one.name, one.detail, one.mend or "")
    console.print(table)
    if any(one.status == "fail" for one in found):
        raise typer.Exit(EXPECTED_ERROR)


@db.command("start")
def start_database() -> None:
    """Start our own database, or find the one that is running."""
    from curation import database

    console.print(str(database.start(from_environment())))


@db.command("stop")
def stop_database() -> None:
    """Stop our own database."""
    from curation import database

    console.print(str(database.stop(from_environment())))


@db.command("status")
def database_status() -> None:
    """Say which database is used, and whether it answers."""
    from curation import database

    console.print(str(database.status(from_environment())))


@manifest_app.command("show")
def show_manifest(manifest: Annotated[str, typer.Argument()] = "tiny") -> None:
    """Show the members of a manifest as a table."""
    from cascade import manifest as manifests
    from cascade import registry

    parsed = manifests.load(manifest)
    table = Table("member", "tier", "adapter", "licence", "precision", "batch", "weight", "here")
    for one in parsed.members:
        missing = registry.get(one.adapter).missing
        here = f"[yellow]needs {missing[0]}[/]" if missing else "[green]yes[/]"
        table.add_row(
            one.name,
            one.tier,
            one.adapter,
            one.licence,
            one.precision,
            str(one.batch_size),
            f"{one.weight:g}",
            here,
        )
    console.print(
        f"{parsed.name} v{parsed.version}, hash {parsed.identity}, taxonomy {parsed.taxonomy}"
    )
    console.print(table)


@manifest_app.command("check")
def check_manifest(manifest: Annotated[str, typer.Argument()] = "tiny") -> None:
    """Check a manifest and the weights that it names, without loading a model."""
    from cascade.ensemble import Ensemble

    ensemble = Ensemble.from_manifest(manifest)
    for name, reason in ensemble.left_out.items():
        console.print(f"[yellow]left out[/] {name}: {reason}")
    console.print(f"[green]ok[/] {len(ensemble.checkpoints)} members, {ensemble.identity}")


@plugins_app.command("install")
def install_plugins(
    target: Annotated[Path | None, typer.Option(help="FiftyOne's plugins folder.")] = None,
) -> None:
    """Link our operators into FiftyOne's plugins folder."""
    from curation import plugin_install

    for path in plugin_install.install(target):
        console.print(f"[green]installed[/] {path}")


@plugins_app.command("uninstall")
def uninstall_plugins(
    target: Annotated[Path | None, typer.Option(help="FiftyOne's plugins folder.")] = None,
) -> None:
    """Remove the links that `install` made."""
    from curation import plugin_install

    for path in plugin_install.uninstall(target):
        console.print(f"[yellow]removed[/] {path}")
