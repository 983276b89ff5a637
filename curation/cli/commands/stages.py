"""The verbs of single stages, in the order of a round.

Ingest, predict, embed, score, choose and report do their stage on any dataset. Label, train,
evaluate and publish need what came before them, so they carry a round as far as themselves.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from curation.cli.app import (
    DEFAULT_TAXONOMY,
    BudgetOption,
    DatasetArgument,
    LicenceOption,
    ManifestOption,
    ModeOption,
    NamesOption,
    RoundOption,
    SeedOption,
    TaxonomyOption,
    app,
    connected,
    console,
    dataset_of,
    ensemble_for,
    ingest_folder,
    say,
    show,
    split_list,
    stage_bars,
    taxonomy_called,
    taxonomy_for,
)
from curation.cli.commands.rounds import stage_verb
from curation.errors import DatasetError


@app.command(
    epilog="Example: curate ingest photos/ --name site --taxonomy construction_site "
    "--names 'Hardhat,Mask' --hold-back"
)
def ingest(
    source: Annotated[
        Path, typer.Argument(help="A folder of images, YOLO, COCO or VOC data, or videos.")
    ],
    name: Annotated[
        str | None, typer.Option(help="The dataset's name. Default: the folder's.")
    ] = None,
    taxonomy: TaxonomyOption = None,
    names: NamesOption = None,
    source_format: Annotated[
        Literal["auto", "folder", "yolo", "coco", "voc", "video"], typer.Option("--format")
    ] = "auto",
    hold_back: Annotated[
        bool,
        typer.Option(
            help="Keep the labels of the train split for the oracle, to replay a project."
        ),
    ] = False,
    resplit: Annotated[
        bool, typer.Option(help="Split anew by drive: 70 % train, 15 % val, 15 % test.")
    ] = False,
    drive_pattern: Annotated[
        str | None,
        typer.Option(
            help="Regular expression whose first group is the drive, matched on file names."
        ),
    ] = None,
    fps: Annotated[float, typer.Option(help="Frames a second taken from videos.")] = 1.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what comes, until Ctrl-C.")
    ] = False,
) -> None:
    """Bring images and their labels into a dataset. A second call adds only what is new."""
    settings = connected()

    def bring() -> None:
        ingest_folder(
            source, settings, name=name, taxonomy=taxonomy or DEFAULT_TAXONOMY, names=names,
            source_format=source_format, hold_back=hold_back, resplit=resplit,
            drive_pattern=drive_pattern, fps=fps,
        )  # fmt: skip

    if watch:
        from curation.jobs.nightly import folder_watcher

        if not source.is_dir():
            raise DatasetError(
                f"`--watch` takes a folder that is there, got {source}. Copy a bucket into one, or "
                "have a job do it: `curate jobs add --watch s3://...`."
            )
        folder_watcher.watch(source, bring)
    else:
        bring()


@app.command(
    epilog="Example: curate predict clips --manifest roadwork_lite "
    "--mode routed --licence permissive"
)
def predict(
    dataset: DatasetArgument,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
    mode: ModeOption = "full",
    licence: LicenceOption = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where detectors run: this machine's devices, or a Ray cluster's."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster, e.g. ray://host:10001. Default: one started here."),
    ] = None,
) -> None:
    """Run every member that has not looked at a sample yet, then fuse what they say.

    First the detectors; then, where the manifest has any, depth, masks and language models.
    """
    from curation.inference.deep_tiers import estimators
    from curation.stages.adjudicate import adjudicate
    from curation.stages.examine import examine
    from curation.stages.fuse import fuse
    from curation.stages.predict import predict as predict_samples

    settings = connected(dataset)
    samples = dataset_of(dataset, settings, taxonomy_for(manifest, taxonomy))
    ensemble = ensemble_for(samples, settings, manifest, taxonomy, licence)
    with stage_bars() as bars:
        looked_first = predict_samples(
            samples, ensemble, engine=engine, address=address, progress=bars("predict")
        )
        show("predict", asdict(looked_first))
        show("fuse", asdict(fuse(samples, ensemble, progress=bars("fuse"))))
        if not any(estimators(ensemble).values()):
            return
        looked = examine(
            samples, ensemble, folder=settings.artifacts(samples.name), mode=mode,
            progress=bars("examine"),
        )  # fmt: skip
        show("examine", asdict(looked))
        show("fuse", asdict(fuse(samples, ensemble, progress=bars("fuse"))))
        settled = adjudicate(samples, ensemble, progress=bars("adjudicate"))
        show("adjudicate", asdict(settled))


@app.command(epilog="Example: curate embed clips")
def embed(
    dataset: DatasetArgument, manifest: ManifestOption = "tiny", taxonomy: TaxonomyOption = None
) -> None:
    """Embed samples for similarity search, choosing and the UMAP picture."""
    from curation.stages.embed import embed as embed_samples

    settings = connected(dataset)
    samples = dataset_of(dataset, settings, taxonomy_for(manifest, taxonomy))
    ensemble = ensemble_for(samples, settings, manifest, taxonomy)
    with stage_bars() as bars:
        show(
            "embed",
            asdict(
                embed_samples(
                    samples, ensemble, folder=settings.vectors(samples.name), progress=bars("embed")
                )
            ),
        )


@app.command(epilog="Example: curate score my_dataset --members yolo,detr")
def score(
    dataset: DatasetArgument,
    members: Annotated[
        str | None,
        typer.Option(
            help="Label fields that are there already, "
            "comma-separated: ranks them without running any model."
        ),
    ] = None,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
) -> None:
    """Rank the unlabeled pool by hardness: where the members disagree most."""
    from curation.stages.score import score as score_samples

    settings = connected(dataset)
    samples = dataset_of(dataset, settings, taxonomy)
    with stage_bars() as bars:
        if members:
            result = score_samples(
                samples, members=split_list(members), taxonomy=taxonomy_called(taxonomy),
                progress=bars("score"),
            )  # fmt: skip
        else:
            ensemble = ensemble_for(samples, settings, manifest, taxonomy)
            result = score_samples(samples, ensemble=ensemble, progress=bars("score"))
    show("score", asdict(result))


@app.command(epilog="Example: curate choose clips --budget 40")
def choose(
    dataset: DatasetArgument,
    budget: BudgetOption = None,
    round_number: RoundOption = 1,
    seed: SeedOption = 0,
    use_hardness: Annotated[bool, typer.Option(help="Without it, coverage only.")] = True,
) -> None:
    """Choose the next batch to label: hard, varied, and a random arm to compare with."""
    from curation.pipeline import run_round
    from curation.stages.choose import choose as choose_samples

    settings = connected(dataset)
    samples = dataset_of(dataset, settings, None)
    with stage_bars() as bars:
        result = choose_samples(
            samples, round_number=round_number, seed=seed, use_hardness=use_hardness,
            budget=run_round.budget(samples, budget), progress=bars("choose"),
        )  # fmt: skip
    show("choose", asdict(result))


stage_verb("label", "Send the chosen samples out and fetch what was labeled.")
stage_verb("train", "Fine-tune every detector on the labeled pool, and refit the calibration.")
stage_verb("evaluate", "Measure champion and challenger on the frozen test split.")
stage_verb("publish", "Register the challenger and let the gate judge it.")


@app.command(epilog="Example: curate report clips --round 1")
def report(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Write the round's page, and show the same here."""
    from curation.stages.report import report as write_report
    from curation.stages.report import to_terminal
    from curation.storage import queries, rounds

    settings = connected(dataset)
    samples = queries.load_dataset(dataset)
    this = rounds.of_dataset(settings.home, samples.name, round_number)
    page = write_report(samples, this, settings)
    console.print(to_terminal(samples, this, settings))
    say(f"Report: {page}")
