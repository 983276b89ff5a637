"""Console, options and dataset access shared by all commands."""

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

    from cascade.taxonomy import Taxonomy
    from curation.cli.progress_bars import StageBars


DEFAULT_TAXONOMY = "roadwork_core"  # that of the manifest `tiny`
EXPECTED_ERROR, WAITING, INTERRUPTED = 1, 3, 130  # click itself exits with 2 on wrong usage
_SPLIT_SHARES = (0.70, 0.15, 0.15)  # train, val, test

_EPILOG = (
    "Example: curate quickstart\n\n"
    "Exit codes: 0 done; 1 an error that you can fix (one line says how); 2 wrong usage; "
    "3 the round waits for labels; 130 interrupted: run the same command again to continue."
)

app = typer.Typer(
    name="curate",
    help="Choose the smallest, most useful batch of images to label next, "
    "and verify that it improved the model.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

console = Console()
error_console = Console(stderr=True)

DatasetArgument = Annotated[
    str, typer.Argument(help="Dataset name, or a folder of images (ingested if new).")
]
ManifestOption = Annotated[
    str, typer.Option("--manifest", "-m", help="Name of a packaged manifest, or a YAML file.")
]
ModeOption = Annotated[
    Literal["full", "routed"],
    typer.Option(help="Deep tiers on every sample, or only where the cascade is unsure."),
]
EngineOption = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Engine for detectors: devices of this machine, or a Ray cluster."),
]
LicenseOption = Annotated[
    Literal["permissive", "copyleft", "custom", "non-commercial"] | None,
    typer.Option(
        "--license",
        "--licence",
        help="Strictest license allowed. Optional members with a stricter one are left out; "
        "required ones are an error.",
    ),
]
TaxonomyOption = Annotated[
    str | None,
    typer.Option(
        "--taxonomy",
        "-t",
        help="Name of a packaged taxonomy, or a YAML file. "
        "Default: that of the dataset, or else of the manifest.",
    ),
]
NamesOption = Annotated[
    str | None, typer.Option(help="Class names of YOLO labels, in order, comma-separated.")
]
LabelerOption = Annotated[
    Literal["oracle", "files", "yolo", "voc", "datumaro", "label-studio", "cvat"],
    typer.Option(
        "--labeler",
        "--labels",
        help="Source of labels: held-back ground truth, files (COCO, YOLO, VOC, Datumaro), "
        "or a Label Studio or CVAT server.",
    ),
]
BlurOption = Annotated[
    str | None,
    typer.Option(metavar="faces", help="Blur faces in images sent to annotators."),
]
BudgetOption = Annotated[
    int | None,
    typer.Option(
        "--budget",
        "-b",
        help="Number of samples to choose. Default: a tenth of the pool, at least 20.",
    ),
]
EpochsOption = Annotated[int, typer.Option(help="Maximum number of training epochs.")]
SeedOption = Annotated[int, typer.Option(help="Random seed for selection and training.")]
RoundOption = Annotated[int, typer.Option("--round", "-r", help="Round number, from 1.")]
HoldBackOption = Annotated[
    bool,
    typer.Option(help="Hold back the labels of the train split for the oracle (replay)."),
]


def connect(dataset: str | None = None) -> Settings:
    """Read the environment and connect to the database, before FiftyOne is imported.

    Args:
        dataset: Name of the dataset to find, which may be in the user's own database.
    """
    from curation.storage.database import connection

    settings = from_environment()
    name = None if dataset is None or Path(dataset).is_dir() else dataset
    connection.connect(settings, dataset=name)
    return settings


def open_dataset(
    name_or_folder: str,
    settings: Settings,
    taxonomy: str | None,
    *,
    name: str | None = None,
    names: str | None = None,
    hold_back: bool = False,
    resplit: bool = False,
) -> Dataset:
    """Return the dataset of that name; a folder is ingested first, unless it already was."""
    from curation.storage import queries

    folder = Path(name_or_folder)
    if not folder.is_dir():
        return queries.load_dataset(name_or_folder)
    dataset = name or folder.resolve().name
    if not queries.has_dataset(dataset):
        ingest_folder(
            folder, settings, name=dataset, taxonomy=taxonomy or DEFAULT_TAXONOMY, names=names,
            hold_back=hold_back, resplit=resplit,
        )  # fmt: skip
    return queries.load_dataset(dataset)


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
    """Ingest a folder into a dataset and print the summary."""
    from cascade import taxonomy as taxonomies
    from curation.pipeline.run_stage import run_ingest

    with stage_bars() as bars:
        result = run_ingest(
            source, name=name or source.resolve().name, taxonomy=taxonomies.load(taxonomy),
            source_format=source_format, names=split_list(names) if names else None,
            hold_back=hold_back, resplit=_SPLIT_SHARES if resplit else None,
            drive_pattern=drive_pattern, fps=fps, settings=settings, progress=bars("ingest"),
        )  # fmt: skip
    show("ingest", asdict(result))


def load_taxonomy(name: str | None) -> Taxonomy | None:
    """Return the taxonomy with that name or file; None if no name is given."""
    from cascade import taxonomy

    return taxonomy.load(name) if name else None


def taxonomy_for(manifest: str, taxonomy: str | None) -> str:
    """Return the taxonomy to ingest with: the requested one, or the manifest's.

    Loads the manifest in either case, to refuse an invalid one before anything is written.
    """
    from cascade import manifest as manifests

    default = manifests.load(manifest).taxonomy
    return taxonomy or default


@contextmanager
def stage_bars() -> Iterator[StageBars]:
    """Draw a progress bar for each stage until the block ends."""
    from curation.cli.progress_bars import StageBars

    with StageBars(console) as bars:
        yield bars


def show(stage: str, summary: dict[str, Any]) -> None:
    """Print a stage's summary, one value a line, without empty values."""
    console.print(f"[bold]{stage}[/]")
    for key, value in summary.items():
        if value in (None, (), [], {}):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, (list, tuple)):
            value = "".join(f"\n    {item}" for item in value)
        say(f"  {key.replace('_', ' ')}: {value}")


def say(text: str) -> None:
    """Print plain text: no markup, no line breaks added."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def split_list(text: str) -> Sequence[str]:
    """Return the items of a comma-separated list."""
    return [item.strip() for item in text.split(",") if item.strip()]
