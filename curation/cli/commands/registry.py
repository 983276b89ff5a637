"""The verbs about what is in service: promote, rollback, history, compare, guard, mirror."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cascade.errors import CascadeError
from curation.cli.app import app, connected, console, say, stage_bars
from curation.errors import CurationError

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from curation.settings import Settings
    from curation.tracking import Registry, Version

NameArgument = Annotated[str, typer.Argument(help="The dataset whose ensembles are meant.")]
ByOption = Annotated[str, typer.Option("--by", help="Who answers for it.")]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, in your words.")]


@app.command(epilog="Example: curate promote site --by 'Ada L.' --why 'verdict read, round 4'")
def promote(
    name: NameArgument,
    by: ByOption,
    why: WhyOption,
    version: Annotated[
        str | None, typer.Argument(help="Default: the challenger, which was judged last.")
    ] = None,
    against_the_gate: Annotated[
        bool,
        typer.Option(
            "--against-the-gate", help="Also where the gate did not say so, or of an old champion."
        ),
    ] = False,
) -> None:
    """Put a version into service, in your name; `rollback` takes it back."""
    from curation.tracking.registry.promotion import promotions

    with promotions(connected(name)) as moving:
        moved = moving.promote_judged(
            name, version or "challenger", by=by, why=why, against_the_gate=against_the_gate
        )
    say(moved.sentence)


@app.command(epilog="Example: curate rollback site --by 'Ada L.' --why 'misses cones at night'")
def rollback(
    name: NameArgument,
    by: ByOption = "curate rollback",
    why: WhyOption = "not said",
    of: Annotated[
        str | None,
        typer.Option("--of", help="The version to withdraw. Default: the one promoted last."),
    ] = None,
) -> None:
    """Put the version that the champion replaced back into service. Said twice, done once."""
    from curation.tracking.registry.promotion import promotions

    with promotions(connected(name)) as moving:
        moved = moving.rollback(name, by=by, why=why, of=of)
    say(moved.sentence)


@app.command(epilog="Example: curate history site")
def history(name: NameArgument) -> None:
    """Show the versions, and who promoted or withdrew which, when and why."""
    from curation.settings import from_environment
    from curation.tracking import Registry
    from curation.tracking.registry.promotion import history as events

    registry = Registry.of(from_environment())
    versions = registry.versions(name)
    if not versions:
        say(f"No ensemble of {name!r} is registered. Publish one: `curate publish {name}`.")
        return
    table = _table("version", "is", "round", "verdict", "ensemble", "licences")
    for one in versions:
        tags = one.tags
        state = ", ".join(one.aliases) or ("withdrawn" if tags.get("withdrawn") == "true" else "")
        table.add_row(
            one.version, state, tags.get("round", ""), tags.get("verdict", ""), one.ensemble,
            escape(tags.get("licences", "")),
        )  # fmt: skip
    console.print(table)
    trail = _table("when", "what", "by", "why")
    for event in events(registry, name):
        moved = f"{event.kind} {event.before or 'none'} → {event.after}"
        trail.add_row(event.at, moved, escape(event.by), escape(event.why))
    console.print(trail)


@app.command(epilog="Example: curate compare site 3 4 --split test")
def compare(
    dataset: NameArgument,
    first: Annotated[str, typer.Argument(help="A version, or champion, challenger, previous.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    split: Annotated[str | None, typer.Option(help="Only this split: train, val, test.")] = None,
) -> None:
    """Run two versions on the same samples, each into fields of its own, such as consensus__v3."""
    from curation.stages.compare import as_table
    from curation.stages.compare import compare as run
    from curation.storage import queries, schema
    from curation.tracking import Registry

    settings = connected(dataset)
    samples: SampleCollection = queries.load_dataset(dataset)
    if split:
        samples = samples.match({schema.SPLIT: split})
    registry = Registry.of(settings)
    asked = [registry.version(dataset, one) for one in (first, second)]
    with tempfile.TemporaryDirectory(prefix="compare-") as folder, stage_bars() as bars:
        ensembles = {one.version: _ensemble(registry, dataset, one, Path(folder)) for one in asked}
        result = run(samples, ensembles, progress=bars("compare"))
    a, b = result.versions
    table = _table("", f"version {a}", f"version {b}", "change")
    for row in as_table(result):
        table.add_row(*row)
    console.print(table)
    say(
        f"Of {result.samples} samples ({result.labeled} labeled) they decide differently on "
        f"{result.differing}" + (f": saved view {result.view!r}." if result.view else ".")
    )


@app.command(epilog="Example: curate guard site --floor 0.9 --checks 3 --measure live --every 3600")
def guard(
    name: NameArgument,
    floor: Annotated[float, typer.Option(help="The least that the live metric may be.")],
    checks: Annotated[int, typer.Option(min=1, help="How many in a row must be below.")] = 3,
    least: Annotated[int, typer.Option(min=1, help="Samples that a check must rest on.")] = 50,
    live: Annotated[
        Path | None, typer.Option(help="File of checks, JSON lines. Default: in our folder.")
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(help="First measure the labeled samples with this tag, into that file."),
    ] = None,
    every: Annotated[
        float | None, typer.Option(min=1, help="Seconds between looks. Default: look once.")
    ] = None,
) -> None:
    """Roll back by itself when the live metric stays below a floor."""
    from curation.active_learning.gate import live_monitor
    from curation.stages import guard as stage
    from curation.tracking.registry.promotion import promotions

    settings = connected(name)
    file = live or settings.dataset_folder(name) / "live.jsonl"
    watching = live_monitor.RollbackPolicy(floor=floor, checks=checks, least=least)
    with promotions(settings) as moving:

        def measured() -> None:
            if measure:
                live_monitor.append_check(file, _measured(moving.registry, name, measure))

        def looked() -> None:
            result = stage.watch(
                moving, name, live=file, watching=watching,
                events=settings.dataset_folder(name) / "events.jsonl",
            )  # fmt: skip
            done = f" Version {result.in_service} is back in service." if result.rolled_back else ""
            say(f"{result.at} {result.reason}{done}")

        if every is None:
            measured()
            looked()
            return
        while True:
            for step in (measured, looked):  # what cannot be measured now is looked at all the same
                try:
                    step()
                except (CascadeError, CurationError) as error:
                    say(f"{error} It is tried again in {every:g} s.")
            time.sleep(every)


@app.command(epilog="Example: curate mirror site 4 --project road-work")
def mirror(
    name: NameArgument,
    project: Annotated[str, typer.Option(help="The W&B project.")],
    version: Annotated[str, typer.Argument(help="A version, or an alias.")] = "champion",
) -> None:
    """Copy the run of a version into Weights & Biases (needs the extra `wandb`)."""
    from curation.settings import from_environment
    from curation.tracking import Registry
    from curation.tracking.wandb_mirror import mirror as copy

    settings: Settings = from_environment()
    registry = Registry.of(settings)
    chosen = registry.version(name, version).version
    place = copy(registry, name, chosen, project=project, folder=settings.dataset_folder(name))
    say(f"The run of version {chosen} is at {place}")


def _ensemble(registry: Registry, name: str, version: Version, folder: Path) -> Any:
    from cascade.ensemble import Ensemble

    return Ensemble.load(registry.download_version(name, version.version, folder / version.version))


def _measured(registry: Registry, name: str, tag: str) -> Any:
    from curation.errors import DatasetError
    from curation.stages.guard import measure
    from curation.storage import queries

    dataset = queries.load_dataset(name)
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None:
        raise DatasetError(f"The dataset {name!r} was not ingested here, so it has no taxonomy.")
    one = registry.version(name, "champion")
    return measure(dataset.match_tags(tag), taxonomy, version=one.version, ensemble=one.ensemble)


def _table(*headings: str) -> Table:
    """Return a table whose cells are folded where the terminal is narrow, never cut."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
