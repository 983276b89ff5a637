"""Commands of whole rounds: `quickstart`, `round`, and a round up to one stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from curation.cli.app import (
    WAITING,
    BlurOption,
    BudgetOption,
    DatasetArgument,
    EpochsOption,
    LabelerOption,
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
    open_dataset,
    say,
    show,
    split_list,
    stage_bars,
    taxonomy_for,
)
from curation.pipeline.dataset_ensemble import ensemble_for

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from cascade.checkpoints.licenses import LicenseKind
    from curation.pipeline.run_round import Plan, RoundResult
    from curation.settings import Settings

FocusOption = Annotated[
    bool,
    typer.Option(
        help="Oversample the champion's failures (by class, size and time of day) in training, and "
        "add crops around its false positives."
    ),
]
SignOffOption = Annotated[
    bool,
    typer.Option(
        help="Leave promotion to a person (`curate promote`), even if the gate allows it."
    ),
]


@app.command(epilog="Example: curate quickstart")
def quickstart(
    budget: BudgetOption = 40,
    epochs: EpochsOption = 10,
    seed: SeedOption = 0,
    name: Annotated[str, typer.Option(help="Dataset name.")] = "quickstart",
) -> None:
    """Run a whole round on rendered road-work scenes, without account or download."""
    from curation.demo.dataset import write_quickstart
    from curation.pipeline.run_round import Plan

    settings = connect()
    folder = write_quickstart(settings.dataset_folder(name) / "scenes", seed=seed)
    _run_rounds(
        str(folder), settings, name=name, manifest="tiny", taxonomy="roadwork_core", names=None,
        labeler="oracle", rounds=1, resplit=False, until="report",
        plan=Plan(budget=budget, epochs=epochs, seed=seed),
    )  # fmt: skip
    say(f"Open it in the App: curate app {name}")


@app.command(
    "round",
    epilog="Example: curate round photos/ --name site --taxonomy "
    "construction_site --names 'Hardhat,Mask' --rounds 2 --budget 120",
)
def run_round(
    dataset: DatasetArgument,
    rounds: Annotated[int, typer.Option(help="Total number of rounds to complete.")] = 1,
    name: Annotated[str | None, typer.Option(help="Name of a new dataset.")] = None,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
    names: NamesOption = None,
    labeler: LabelerOption = "oracle",
    resplit: Annotated[bool, typer.Option(help="Assign new splits by drive.")] = False,
    budget: BudgetOption = None,
    epochs: EpochsOption = 12,
    seed: SeedOption = 0,
    mode: ModeOption = "full",
    strictest_license: LicenseOption = None,
    blur: BlurOption = None,
    focus: FocusOption = False,
    sign_off: SignOffOption = False,
) -> None:
    """Run whole rounds, from predict to report; finished rounds are skipped."""
    from curation.pipeline.run_round import Plan

    _run_rounds(
        dataset, connect(dataset), name=name, manifest=manifest, taxonomy=taxonomy, names=names,
        labeler=labeler, rounds=rounds, resplit=resplit, until="report",
        strictest_license=strictest_license, blur=blur,
        plan=Plan(
            budget=budget, epochs=epochs, seed=seed, mode=mode, focus=focus, sign_off=sign_off
        ),
    )  # fmt: skip


def stage_verb(verb: str, sentence: str) -> None:
    """Add a command that runs the missing stages of a round up to one stage."""

    @app.command(name=verb, help=sentence, epilog=f"Example: curate {verb} demo --round 1")
    def _run_until(
        dataset: DatasetArgument,
        round_number: RoundOption = 1,
        manifest: ManifestOption = "tiny",
        taxonomy: TaxonomyOption = None,
        labeler: LabelerOption = "oracle",
        budget: BudgetOption = None,
        epochs: EpochsOption = 12,
        seed: SeedOption = 0,
        blur: BlurOption = None,
        focus: FocusOption = False,
        sign_off: SignOffOption = False,
    ) -> None:
        from curation.pipeline.run_round import Plan

        _run_rounds(
            dataset, connect(dataset), name=None, manifest=manifest, taxonomy=taxonomy,
            names=None, labeler=labeler, rounds=round_number, resplit=False, until=verb,
            blur=blur,
            plan=Plan(budget=budget, epochs=epochs, seed=seed, focus=focus, sign_off=sign_off),
        )  # fmt: skip


def _run_rounds(
    dataset: str,
    settings: Settings,
    *,
    name: str | None,
    manifest: str,
    taxonomy: str | None,
    names: str | None,
    labeler: str,
    rounds: int,
    resplit: bool,
    until: str,
    plan: Plan,
    strictest_license: LicenseKind | None = None,
    blur: str | None = None,
) -> None:
    from curation.labeling import factory
    from curation.pipeline import run_round as pipeline_round
    from curation.storage import queries

    hold_back = labeler == "oracle"
    samples = open_dataset(
        dataset, settings, taxonomy_for(manifest, taxonomy), name=name, names=names,
        hold_back=hold_back, resplit=resplit,
    )  # fmt: skip
    if hold_back:
        queries.require_oracle_labels(samples)
    ensemble = ensemble_for(samples, settings, manifest, taxonomy, strictest_license, fresh=True)
    for number in range(1, rounds + 1):
        source = factory.create(labeler, samples, settings, blur=split_list(blur or ""))
        with stage_bars() as bars:
            result = pipeline_round.run_round(
                samples, number, ensemble, source, settings, plan=plan, bars=bars,
                until=until if number == rounds else "report",
            )  # fmt: skip
        _print_result(result, samples, settings, until=until if number == rounds else "report")


def _print_result(
    result: RoundResult, samples: SampleCollection, settings: Settings, *, until: str
) -> None:
    from curation.stages.report import to_terminal

    number = result.round.number
    if result.waiting:
        say(
            f"Round {number} waits for labels of {result.waiting} chosen samples. "
            f"{result.instructions} Run the same command again when they are labeled."
        )
        raise typer.Exit(WAITING)
    if until != "report":
        show(until, result.round.record()["stages"].get(until, {}).get("summary", {}))
    elif result.changed:
        console.print(to_terminal(samples, result.round, settings))
    if not result.changed:
        say(f"Round {number} was already complete up to this stage; nothing was changed.")
    if result.report:
        say(f"Report: {result.report}")
