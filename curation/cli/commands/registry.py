"""Commands for registered ensembles: promote, rollback, history, compare, guard, mirror."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cascade.errors import CascadeError
from curation.cli.app import app, connect, say, stage_bars
from curation.cli.tables import show_table
from curation.errors import CurationError

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from cascade.ensemble import Ensemble
    from curation.active_learning.gate.live_monitor import LiveCheck
    from curation.settings import Settings
    from curation.tracking import Registry, Version

NameArgument = Annotated[
    str, typer.Argument(help="Dataset name, which is also the name of its registered ensembles.")
]
ByOption = Annotated[str, typer.Option("--by", help="Name of the person responsible.")]
WhyOption = Annotated[str, typer.Option("--why", help="Reason, in your own words.")]


@app.command(epilog="Example: curate promote site --by 'Ada L.' --why 'verdict read, round 4'")
def promote(
    name: NameArgument,
    by: ByOption,
    why: WhyOption,
    version: Annotated[
        str | None, typer.Argument(help="Version to promote. Default: the challenger.")
    ] = None,
    against_the_gate: Annotated[
        bool,
        typer.Option(
            "--against-the-gate",
            help="Promote despite the gate's verdict, or one against an earlier champion.",
        ),
    ] = False,
) -> None:
    """Promote a version to champion, in your name. `rollback` undoes it."""
    from curation.tracking.registry.promotion import open_promotions

    with open_promotions(connect(name)) as service:
        move = service.promote_judged(
            name, version or "challenger", by=by, why=why, against_the_gate=against_the_gate
        )
    say(move.sentence)


@app.command(epilog="Example: curate rollback site --by 'Ada L.' --why 'misses cones at night'")
def rollback(
    name: NameArgument,
    by: ByOption = "curate rollback",
    why: WhyOption = "not stated",
    of: Annotated[
        str | None,
        typer.Option("--of", help="Version to withdraw. Default: the one promoted last."),
    ] = None,
) -> None:
    """Restore the version that the champion replaced. Idempotent."""
    from curation.tracking.registry.promotion import open_promotions

    with open_promotions(connect(name)) as service:
        move = service.rollback(name, by=by, why=why, of=of)
    say(move.sentence)


@app.command(epilog="Example: curate history site")
def history(name: NameArgument) -> None:
    """Show all versions and the audit trail of promotions and rollbacks."""
    from curation.settings import from_environment
    from curation.tracking import Registry
    from curation.tracking.registry.promotion import history as events

    registry = Registry.from_settings(from_environment())
    versions = registry.versions(name)
    if not versions:
        say(f"No ensemble of {name!r} is registered. Publish one: `curate publish {name}`.")
        return
    rows = []
    for version in versions:
        tags = version.tags
        withdrawn = "withdrawn" if tags.get("withdrawn") == "true" else ""
        rows.append((
            version.version, ", ".join(version.aliases) or withdrawn, tags.get("round", ""),
            tags.get("verdict", ""), version.ensemble, escape(tags.get("licences", "")),
        ))  # fmt: skip
    show_table(("version", "state", "round", "verdict", "ensemble", "licenses"), rows)
    say("")
    moves = [
        (
            event.at,
            f"{event.kind} {event.before or 'none'} → {event.after}",
            escape(event.by),
            escape(event.why),
        )
        for event in events(registry, name)
    ]
    show_table(("time", "move", "by", "reason"), moves)


@app.command(epilog="Example: curate compare site 3 4 --split test")
def compare(
    dataset: NameArgument,
    first: Annotated[str, typer.Argument(help="Version number or alias (champion, ...).")],
    second: Annotated[str, typer.Argument(help="Version to compare with.")],
    split: Annotated[
        str | None,
        typer.Option(help="Split: train, val or test. Default: all."),
    ] = None,
) -> None:
    """Run two versions on the same samples, into separate fields such as consensus__v3."""
    from curation.stages.compare import as_table
    from curation.stages.compare import compare as run
    from curation.storage import queries, schema
    from curation.tracking import Registry

    settings = connect(dataset)
    samples: SampleCollection = queries.load_dataset(dataset)
    if split:
        samples = samples.match({schema.SPLIT: split})
    registry = Registry.from_settings(settings)
    versions = [registry.version(dataset, name) for name in (first, second)]
    with tempfile.TemporaryDirectory(prefix="compare-") as folder, stage_bars() as bars:
        ensembles = {
            v.version: _load_ensemble(registry, dataset, v, Path(folder)) for v in versions
        }
        result = run(samples, ensembles, progress=bars("compare"))
    a, b = result.versions
    show_table(("metric", f"version {a}", f"version {b}", "change"), as_table(result))
    say(
        f"The decisions differ on {result.differing} of {result.samples} samples "
        f"({result.labeled} labeled)" + (f": saved view {result.view!r}." if result.view else ".")
    )


@app.command(epilog="Example: curate guard site --floor 0.9 --checks 3 --measure live --every 3600")
def guard(
    name: NameArgument,
    floor: Annotated[float, typer.Option(help="Minimum of the live metric.")],
    checks: Annotated[
        int, typer.Option(min=1, help="Consecutive low checks before a rollback.")
    ] = 3,
    least: Annotated[int, typer.Option(min=1, help="Minimum number of samples per check.")] = 50,
    live: Annotated[
        Path | None,
        typer.Option(help="JSON Lines file of checks. Default: in the home folder."),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            help="Tag of labeled samples to measure first. Appends the result to the file."
        ),
    ] = None,
    every: Annotated[
        float | None, typer.Option(min=1, help="Seconds between checks. Default: check once.")
    ] = None,
) -> None:
    """Roll back automatically when the live metric stays below a floor."""
    from curation.active_learning.gate import live_monitor
    from curation.stages.guard import guard as check
    from curation.tracking.registry.promotion import open_promotions

    settings = connect(name)
    file = live or settings.dataset_folder(name) / "live.jsonl"
    policy = live_monitor.RollbackPolicy(floor=floor, checks=checks, min_samples=least)
    with open_promotions(settings) as service:

        def append_measurement() -> None:
            if measure:
                live_monitor.append_check(file, _measure_live(service.registry, name, measure))

        def check_once() -> None:
            result = check(
                service, name, live=file, policy=policy,
                events=settings.dataset_folder(name) / "events.jsonl",
            )  # fmt: skip
            restored = f" Version {result.in_service} is restored." if result.rolled_back else ""
            say(f"{result.at} {result.reason}{restored}")

        if every is None:
            append_measurement()
            check_once()
            return
        while True:
            for step in (
                append_measurement,
                check_once,
            ):  # a failed measurement does not stop checks
                try:
                    step()
                except (CascadeError, CurationError) as error:
                    say(f"{error} Retrying in {every:g} s.")
            time.sleep(every)


@app.command(epilog="Example: curate mirror site 4 --project road-work")
def mirror(
    name: NameArgument,
    project: Annotated[str, typer.Option(help="W&B project.")],
    version: Annotated[str, typer.Argument(help="Version number or alias.")] = "champion",
) -> None:
    """Copy the MLflow run of a version to Weights & Biases (needs the extra `wandb`)."""
    from curation.settings import from_environment
    from curation.tracking import Registry
    from curation.tracking.wandb_mirror import mirror as copy

    settings: Settings = from_environment()
    registry = Registry.from_settings(settings)
    number = registry.version(name, version).version
    location = copy(registry, name, number, project=project, folder=settings.dataset_folder(name))
    say(f"The run of version {number} was copied to {location}")


def _load_ensemble(registry: Registry, name: str, version: Version, folder: Path) -> Ensemble:
    from cascade.ensemble import Ensemble

    return Ensemble.load(registry.download_version(name, version.version, folder / version.version))


def _measure_live(registry: Registry, name: str, tag: str) -> LiveCheck:
    from curation.errors import DatasetError
    from curation.stages.guard import measure_live_mcc
    from curation.storage import queries

    dataset = queries.load_dataset(name)
    taxonomy = queries.taxonomy_of(dataset)
    if taxonomy is None:
        raise DatasetError(
            f"The dataset {name!r} has no taxonomy. Adopt it first: `curate adopt {name}`."
        )
    champion = registry.version(name, "champion")
    return measure_live_mcc(
        dataset.match_tags(tag), taxonomy, version=champion.version, ensemble=champion.ensemble
    )
