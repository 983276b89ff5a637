"""What every verb needs: the console, the options, and the way to a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from curation.settings import Settings, from_environment

if TYPE_CHECKING:
    from fiftyone import Dataset
    from fiftyone.core.collections import SampleCollection

    from cascade.checkpoints.licenses import Kind
    from cascade.ensemble import Ensemble

DEFAULT_TAXONOMY = "roadwork_core"  # that of the manifest `tiny`
EXPECTED_ERROR, WAITING, INTERRUPTED = 1, 3, 130  # click itself exits with 2 on wrong usage

_EPILOG = (
    "Example: curate quickstart\n\n"
    "Exit codes: 0 done; 1 an error that you can mend (one line says how); 2 wrong usage; "
    "3 the round waits for labels; 130 interrupted: run the same command again to go on."
)

app = typer.Typer(
    name="curate",
    help="Turn a pile of images into the next, best, smallest batch to label, "
    "and prove that it helped.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

console = Console()
errors = Console(stderr=True)

DatasetArgument = Annotated[
    str, typer.Argument(help="A dataset's name, or a folder of images (ingested when new).")
]
ManifestOption = Annotated[
    str, typer.Option("--manifest", "-m", help="A packaged manifest, or a YAML file.")
]
ModeOption = Annotated[
    Literal["full", "routed"],
    typer.Option(
        help="Whether the deeper tiers look at every sample, or only where the cascade is unsure."
    ),
]
LicenceOption = Annotated[
    Literal["permissive", "copyleft", "custom", "non-commercial"] | None,
    typer.Option(help="Refuse members of a stricter licence; optional ones are left out."),
]
TaxonomyOption = Annotated[
    str | None,
    typer.Option(
        "--taxonomy",
        "-t",
        help="A packaged taxonomy, or a YAML file. "
        "Default: that of the dataset, else that of the manifest.",
    ),
]
NamesOption = Annotated[
    str | None, typer.Option(help="Class names of YOLO rows in order, comma-separated.")
]
LabelerOption = Annotated[
    Literal["oracle", "files", "yolo", "voc", "datumaro", "label-studio", "cvat"],
    typer.Option(
        "--labeler",
        "--labels",
        help="Where labels come from: held-back ground truth, files (COCO, YOLO, VOC, Datumaro), "
        "or a Label Studio or CVAT server.",
    ),
]
BlurOption = Annotated[
    str | None, typer.Option(help="What to hide in the copies of images that leave: faces.")
]
BudgetOption = Annotated[
    int | None,
    typer.Option(
        "--budget", "-b", help="Samples to choose. Default: a tenth of the pool, at least 20."
    ),
]
EpochsOption = Annotated[int, typer.Option(help="Passes over the labeled samples, at most.")]
SeedOption = Annotated[int, typer.Option(help="Of the random arm and of the fits.")]
RoundOption = Annotated[int, typer.Option("--round", "-r", help="The round, from 1.")]


def connected(dataset: str | None = None) -> Settings:
    """Read the environment and connect to the database, before FiftyOne is imported.

    Args:
        dataset: The dataset that is asked for: it may lie in the user's own database.
    """
    from curation.storage.database import connection

    settings = from_environment()
    named = None if dataset is None or Path(dataset).is_dir() else dataset
    connection.connect(settings, dataset=named)
    return settings


def dataset_of(
    name_or_folder: str,
    settings: Settings,
    taxonomy: str | None,
    *,
    name: str | None = None,
    names: str | None = None,
    hold_back: bool = False,
    resplit: bool = False,
) -> Dataset:
    """Return the dataset of that name; a folder is ingested first, where it is not yet."""
    from curation.storage import queries

    folder = Path(name_or_folder)
    if not folder.is_dir():
        return queries.load_dataset(name_or_folder)
    wanted = name or folder.resolve().name
    if not queries.has_dataset(wanted):
        ingest_folder(
            folder,
            settings,
            name=wanted,
            taxonomy=taxonomy or DEFAULT_TAXONOMY,
            names=names,
            hold_back=hold_back,
            resplit=resplit,
        )
    return queries.load_dataset(wanted)


def ingest_folder(
    source: Path,
    settings: Settings,
    *,
    name: str | None,
    taxonomy: str,
    names: str | None,
    source_format: str = "auto",
    hold_back: bool = False,
    resplit: bool = False,
    drive_pattern: str | None = None,
    fps: float = 1.0,
) -> None:
    """Bring a folder into a dataset and show what came of it."""
    from cascade import taxonomy as taxonomies
    from curation.stages.ingest import ingest

    with stage_bars() as bars:
        result = ingest(
            source, name=name or source.resolve().name, taxonomy=taxonomies.load(taxonomy),
            source_format=source_format, names=split_list(names) if names else None,
            hold_back=hold_back, resplit=_SHARES if resplit else None,
            drive_pattern=drive_pattern, fps=fps, settings=settings, progress=bars("ingest"),
        )  # fmt: skip
    show("ingest", asdict(result))


_SHARES = (0.70, 0.15, 0.15)


def ensemble_for(
    samples: SampleCollection,
    settings: Settings,
    manifest: str,
    taxonomy: str | None,
    licence: Kind | None = None,
    *,
    fresh: bool = False,
) -> Ensemble:
    """Return the ensemble to work with: what the last round of the manifest trained, else its own.

    Args:
        samples: The dataset.
        settings: Where rounds are kept.
        manifest: A packaged manifest, or a YAML file.
        taxonomy: Over which classes; None for those that the dataset was ingested with.
        licence: The only kind of licence that members may have.
        fresh: Whether to leave past rounds aside.
    """
    from cascade import manifest as manifests
    from cascade import taxonomy as taxonomies
    from cascade.ensemble import Ensemble
    from curation.storage import queries, rounds

    wanted = manifests.load(manifest)
    past = [] if fresh else rounds.finished(settings.home, samples.name)
    trained = Ensemble.load(past[-1].ensemble) if past else None
    if trained and trained.manifest.name == wanted.name:
        return trained.restricted_to(licence)
    classes = taxonomies.load(taxonomy) if taxonomy else queries.taxonomy_of(samples)
    return Ensemble.from_manifest(wanted, taxonomy=classes, licence=licence)


def taxonomy_called(name: str | None) -> Any:
    """Return the taxonomy of that name or file; None where none was asked for."""
    from cascade import taxonomy as taxonomies

    return taxonomies.load(name) if name else None


def taxonomy_for(manifest: str, asked: str | None) -> str:
    """Return the taxonomy to ingest with: as asked, or the manifest's own.

    A wrong manifest is refused here, before anything is written.
    """
    from cascade import manifest as manifests

    own = manifests.load(manifest).taxonomy
    return asked or own


@contextmanager
def stage_bars() -> Iterator[Any]:
    """Draw a progress bar for each stage until the block ends."""
    from curation.cli.progress_bars import StageBars

    with StageBars(console) as bars:
        yield bars


def show(stage: str, summary: dict[str, Any]) -> None:
    """Print a stage's summary: one line a fact, empty ones left out."""
    console.print(f"[bold]{stage}[/]")
    for key, value in summary.items():
        if value in (None, (), [], {}):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, (list, tuple)):
            value = "\n".join(f"    {one}" for one in value)
            value = f"\n{value}"
        say(f"  {key.replace('_', ' ')}: {value}")


def say(text: str) -> None:
    """Print plain text: nothing in it is markup, and no line of it is broken."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def split_list(text: str) -> Sequence[str]:
    """Return the words of a comma-separated list."""
    return [one.strip() for one in text.split(",") if one.strip()]
