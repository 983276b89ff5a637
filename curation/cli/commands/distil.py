"""The verb that makes one fast student of an ensemble."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curation.cli.app import (
    DatasetArgument,
    EpochsOption,
    SeedOption,
    app,
    connected,
    ensemble_for,
    say,
    show,
    stage_bars,
)

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from cascade.ensemble import Ensemble
    from curation.settings import Settings
    from curation.stages.distil import DistilResult

_DEFAULT_MANIFEST = "tiny"
_LESSON = {
    True: "kept: after it validation was better, or found anything at all",
    False: "left out: after it validation was no better",
}


@app.command(epilog="Example: curate distil site --version champion --epochs 40")
def distil(
    dataset: DatasetArgument,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest",
            "-m",
            help="A packaged manifest, or a YAML file, as its last round trained it. "
            f"Default: {_DEFAULT_MANIFEST}.",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="A registered version, or champion, challenger, previous, instead."),
    ] = None,
    epochs: EpochsOption = 40,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder; another student there is replaced. Default: in ours."),
    ] = None,
) -> None:
    """Teach one fast student what an ensemble knows, and measure what it keeps of it."""
    from curation.stages.distil import distil as make
    from curation.storage import queries

    if manifest and version:
        raise typer.BadParameter("--manifest and --version exclude each other; give one of them.")
    settings = connected(dataset)
    samples = queries.load_dataset(dataset)
    folder = out or settings.dataset_folder(samples.name) / "student"
    with _teacher(samples, settings, manifest, version) as ensemble, stage_bars() as bars:
        result = make(samples, ensemble, folder, epochs=epochs, seed=seed, bars=bars)
    _tell(result, samples.name)


def _tell(result: DistilResult, dataset: str) -> None:
    show(
        "distil",
        {
            "labeled": result.labeled,
            "taught": result.taught,
            "lesson": _LESSON[result.lesson_kept],
            "licence": result.licence,
            "unreadable": result.unreadable,
        },
    )
    if not result.changed:
        say("All that it is made from is as it was, so nothing was done.")
    if result.kept:
        say(result.kept.sentence)
    else:
        say("The split 'test' has no labeled image, so what it keeps was not measured.")
    say(f"Try it: curate predict {dataset} --manifest {result.manifest}")


@contextmanager
def _teacher(
    samples: SampleCollection, settings: Settings, manifest: str | None, version: str | None
) -> Iterator[Ensemble]:
    """Give the ensemble of a registered version, or that of a manifest, until the block ends."""
    from cascade.ensemble import Ensemble
    from curation.tracking import Registry

    if version is None:
        yield ensemble_for(samples, settings, manifest or _DEFAULT_MANIFEST, None)
        return
    registry = Registry.of(settings)
    number = registry.version(samples.name, version).version
    with tempfile.TemporaryDirectory(prefix="distil-") as folder:
        yield Ensemble.load(registry.download_version(samples.name, number, Path(folder) / number))
