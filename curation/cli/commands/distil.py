"""Command `distil`: train one fast student from an ensemble."""

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
    connect,
    say,
    show,
    stage_bars,
)
from curation.pipeline.dataset_ensemble import ensemble_for

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from cascade.ensemble import Ensemble
    from curation.settings import Settings
    from curation.stages.distill import DistillResult

_DEFAULT_MANIFEST = "tiny"
_LESSON = {
    True: "kept: it improved the validation metric",
    False: "left out: it did not improve the validation metric",
}


@app.command(epilog="Example: curate distil site --version champion --epochs 40")
def distil(
    dataset: DatasetArgument,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest",
            "-m",
            help="Name of a packaged manifest, or a YAML file, as trained in the last round. "
            f"Default: {_DEFAULT_MANIFEST}.",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Registered version or alias (champion, ...), instead of a manifest."),
    ] = None,
    epochs: EpochsOption = 40,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder; replaces a student in it. Default: in the home folder."),
    ] = None,
) -> None:
    """Distill an ensemble into one fast student, and measure how much it retains."""
    from curation.stages.distill import distill as distill
    from curation.storage import queries

    if manifest and version:
        raise typer.BadParameter("--manifest and --version are mutually exclusive.")
    settings = connect(dataset)
    samples = queries.load_dataset(dataset)
    folder = out or settings.dataset_folder(samples.name) / "student"
    with _teacher(samples, settings, manifest, version) as ensemble, stage_bars() as bars:
        result = distill(samples, ensemble, folder, epochs=epochs, seed=seed, bars=bars)
    _print_result(result, samples.name)


def _print_result(result: DistillResult, dataset: str) -> None:
    show(
        "distil",
        {
            "labeled": result.labeled,
            "taught": result.taught,
            "lesson": _LESSON[result.lesson_kept],
            "license": result.licence,
            "unreadable": result.unreadable,
        },
    )
    if not result.changed:
        say("Its inputs are unchanged, so nothing was done.")
    if result.retention:
        say(result.retention.sentence)
    else:
        say("The split 'test' has no labeled image, so the student was not evaluated.")
    say(f"Try it: curate predict {dataset} --manifest {result.manifest}")


@contextmanager
def _teacher(
    samples: SampleCollection, settings: Settings, manifest: str | None, version: str | None
) -> Iterator[Ensemble]:
    """Yield the ensemble of a registered version, or of a manifest."""
    from cascade.ensemble import Ensemble
    from curation.tracking import Registry

    if version is None:
        yield ensemble_for(samples, settings, manifest or _DEFAULT_MANIFEST, None)
        return
    registry = Registry.from_settings(settings)
    number = registry.version(samples.name, version).version
    with tempfile.TemporaryDirectory(prefix="distil-") as folder:
        yield Ensemble.load(registry.download_version(samples.name, number, Path(folder) / number))
