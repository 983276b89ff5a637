"""Commands of single stages, in the order of a round.

Ingest, predict, embed, score, choose and report run their stage on any dataset. Label, train,
evaluate and publish depend on earlier stages, so they run a round up to their stage.
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
    EngineOption,
    HoldBackOption,
    LicenseOption,
    ManifestOption,
    ModeOption,
    NamesOption,
    RoundOption,
    SeedOption,
    TaxonomyOption,
    app,
    connect,
    console,
    ingest_folder,
    load_taxonomy,
    open_dataset,
    say,
    show,
    split_list,
    stage_bars,
    taxonomy_for,
)
from curation.cli.commands.rounds import stage_verb
from curation.errors import DatasetError
from curation.pipeline.dataset_ensemble import ensemble_for


@app.command(
    epilog="Example: curate ingest photos/ --name site --taxonomy construction_site "
    "--names 'Hardhat,Mask' --hold-back"
)
def ingest(
    source: Annotated[
        Path, typer.Argument(help="Folder of images, videos, or YOLO, COCO or VOC data.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Dataset name. Default: name of the folder.")
    ] = None,
    taxonomy: TaxonomyOption = None,
    names: NamesOption = None,
    source_format: Annotated[
        Literal["auto", "folder", "yolo", "coco", "voc", "video"],
        typer.Option("--format", help="Format of the source."),
    ] = "auto",
    hold_back: HoldBackOption = False,
    resplit: Annotated[
        bool, typer.Option(help="Assign new splits by drive: 70 % train, 15 % val, 15 % test.")
    ] = False,
    drive_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression for file names; its first group is the drive."),
    ] = None,
    fps: Annotated[float, typer.Option(help="Frames per second to extract from videos.")] = 1.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Watch the folder for new files until you press Ctrl-C.")
    ] = False,
) -> None:
    """Ingest images and labels into a dataset. Repeated calls add only new files."""
    settings = connect()

    def ingest_source() -> None:
        ingest_folder(
            source, settings, name=name, taxonomy=taxonomy or DEFAULT_TAXONOMY, names=names,
            source_format=source_format, hold_back=hold_back, resplit=resplit,
            drive_pattern=drive_pattern, fps=fps,
        )  # fmt: skip

    if watch:
        from curation.jobs.nightly import folder_watcher

        if not source.is_dir():
            raise DatasetError(
                f"`--watch` needs an existing folder, got {source}. To watch a bucket, add a job: "
                "`curate jobs add --watch s3://...`."
            )
        folder_watcher.watch(source, ingest_source)
    else:
        ingest_source()


@app.command(
    epilog="Example: curate predict clips --manifest roadwork_lite "
    "--mode routed --license permissive"
)
def predict(
    dataset: DatasetArgument,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
    mode: ModeOption = "full",
    strictest_license: LicenseOption = None,
    engine: EngineOption = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of the Ray cluster, e.g. ray://host:10001. Default: a local one."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Device for all models, e.g. cuda:1. Default: all GPUs, else the CPU."),
    ] = None,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate", help="Refit the calibration on labeled validation samples first."
        ),
    ] = False,
) -> None:
    """Run all members on samples that they have not predicted, then fuse the predictions.

    Detectors run first, then depth, segmentation and language models of the manifest.
    """
    import torch

    from curation.pipeline.predict import predict as predict_samples

    settings = connect(dataset)
    samples = open_dataset(dataset, settings, taxonomy_for(manifest, taxonomy))
    ensemble = ensemble_for(samples, settings, manifest, taxonomy, strictest_license)
    with stage_bars() as bars:
        predict_samples(
            samples, ensemble, folder=settings.artifacts(samples.name), mode=mode,
            device=torch.device(device) if device else None, engine=engine, address=address,
            recalibrate=recalibrate, bars=bars,
            on_result=lambda stage, result: show(stage, asdict(result)),
        )  # fmt: skip


@app.command(epilog="Example: curate embed clips")
def embed(
    dataset: DatasetArgument, manifest: ManifestOption = "tiny", taxonomy: TaxonomyOption = None
) -> None:
    """Embed samples for similarity search, selection and the UMAP projection."""
    from curation.stages.embed import embed as embed_samples

    settings = connect(dataset)
    samples = open_dataset(dataset, settings, taxonomy_for(manifest, taxonomy))
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
            help="Existing label fields, comma-separated, to rank by without running models."
        ),
    ] = None,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
) -> None:
    """Rank the unlabeled pool by hardness, which is highest where members disagree."""
    from curation.pipeline.run_stage import run_stage
    from curation.stages.score import score as score_samples

    settings = connect(dataset)
    samples = open_dataset(dataset, settings, taxonomy)
    with stage_bars() as bars:
        if members:
            result = run_stage(
                score_samples, samples, members=split_list(members),
                taxonomy=load_taxonomy(taxonomy), progress=bars("score"),
            )  # fmt: skip
        else:
            ensemble = ensemble_for(samples, settings, manifest, taxonomy)
            result = run_stage(score_samples, samples, ensemble=ensemble, progress=bars("score"))
    show("score", asdict(result))


@app.command(epilog="Example: curate choose clips --budget 40")
def choose(
    dataset: DatasetArgument,
    budget: BudgetOption = None,
    round_number: RoundOption = 1,
    seed: SeedOption = 0,
    use_hardness: Annotated[
        bool, typer.Option(help="Select by hardness and coverage, or by coverage only.")
    ] = True,
) -> None:
    """Choose the next batch to label: hard and diverse samples, and a random arm."""
    from curation.pipeline import run_round
    from curation.pipeline.run_stage import run_stage
    from curation.stages.choose import choose as choose_samples

    settings = connect(dataset)
    samples = open_dataset(dataset, settings, None)
    with stage_bars() as bars:
        result = run_stage(
            choose_samples, samples, round_number=round_number, seed=seed,
            use_hardness=use_hardness, budget=run_round.resolve_budget(samples, budget),
            progress=bars("choose"),
        )  # fmt: skip
    show("choose", asdict(result))


stage_verb("label", "Send the chosen samples to the labeler and fetch their labels.")
stage_verb("train", "Fine-tune all detectors on the labeled pool, and refit the calibration.")
stage_verb("evaluate", "Evaluate champion and challenger on the frozen test split.")
stage_verb("publish", "Register the challenger, and promote it if the gate allows.")


@app.command(epilog="Example: curate report clips --round 1")
def report(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Write the round's report page, and print its summary."""
    from curation.stages.report import report as write_report
    from curation.stages.report import to_terminal
    from curation.storage import queries, rounds

    settings = connect(dataset)
    samples = queries.load_dataset(dataset)
    round_ = rounds.get_round(settings.home, samples.name, round_number)
    page = write_report(samples, round_, settings)
    console.print(to_terminal(samples, round_, settings))
    say(f"Report: {page}")
