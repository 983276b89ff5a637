"""Commands on past rounds: `withdraw` and `reproduce`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from curation.cli.app import (
    EXPECTED_ERROR,
    DatasetArgument,
    RoundOption,
    app,
    connect,
    say,
    show,
)

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from curation.labeling.protocol import Labeler
    from curation.settings import Settings
    from curation.storage.rounds import Round


@app.command(epilog="Example: curate withdraw clips --round 2")
def withdraw(
    dataset: DatasetArgument,
    round_number: RoundOption = 1,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Undo the last round: its selection, ground truth and labeling tasks."""
    from curation.stages import withdraw as stage
    from curation.storage import queries, rounds

    settings = connect(dataset)
    samples = queries.load_dataset(dataset)
    round_ = rounds.get_round(settings.home, samples.name, round_number)
    extent = stage.extent(samples, round_)
    labeler = _labeler(samples, round_, settings)
    say(
        f"Round {round_number} chose {extent.chosen} samples and labeled {extent.labeled} of "
        f"them, with {extent.boxes} boxes. Both are removed."
    )
    if extent.record:
        say(f"Its record and models in {extent.record} are moved aside, marked as withdrawn.")
    if extent.published:
        say(
            f"Version {extent.published}, registered by the round, remains registered. If it is "
            f"the champion, replace it: `curate rollback {samples.name}`."
        )
    if not yes:
        typer.confirm("Withdraw the round?", abort=True)
    result = stage.withdraw(samples, round_, labeler)
    say(result.labeler)
    if result.record:
        say(f"Record: {result.record}")


@app.command(epilog="Example: curate reproduce clips --round 1")
def reproduce(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Check that a round's training data and settings are unchanged; exit code 1 if not."""
    from curation.stages import reproduce as stage
    from curation.storage import queries, rounds

    settings = connect(dataset)
    samples = queries.load_dataset(dataset)
    round_ = rounds.get_round(settings.home, samples.name, round_number)
    result = stage.reproduce(samples, round_)
    show("reproduce", asdict(result))
    if not result.identical:
        raise typer.Exit(EXPECTED_ERROR)


def _labeler(samples: SampleCollection, round_: Round, settings: Settings) -> Labeler | None:
    """Return the labeler of the round; None if it keeps no tasks."""
    from curation.labeling import factory

    name = round_.record().get("labeler")
    if name is None or name == "oracle":
        return None
    return factory.create(name, samples, settings)
