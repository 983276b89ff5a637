"""The verbs about rounds that are past: withdraw one, and look whether one can be reproduced."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from curation.cli.app import (
    EXPECTED_ERROR,
    DatasetArgument,
    RoundOption,
    app,
    connected,
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take the last round back: its choice, its ground truth and its tasks."""
    from curation.stages import withdraw as stage
    from curation.storage import queries, rounds

    settings = connected(dataset)
    samples = queries.load_dataset(dataset)
    this = rounds.get_round(settings.home, samples.name, round_number)
    found = stage.extent(samples, this)
    labeler = _labeler(samples, this, settings)
    say(
        f"This removes the choice of {found.chosen} samples and the ground truth of "
        f"{found.labeled}, with {found.boxes} boxes, that round {round_number} gave."
    )
    if found.record:
        say(f"Its record and models in {found.record} are set aside, marked as withdrawn.")
    if found.published:
        say(
            f"Version {found.published}, which it registered, stays registered; if that is in "
            f"service, put another there: `curate rollback {samples.name}`."
        )
    if not yes:
        typer.confirm("Withdraw the round?", abort=True)
    result = stage.withdraw(samples, this, labeler)
    say(result.labeler)
    if result.record:
        say(f"Record: {result.record}")


@app.command(epilog="Example: curate reproduce clips --round 1")
def reproduce(dataset: DatasetArgument, round_number: RoundOption = 1) -> None:
    """Say whether all that a round was trained on is still the same; exit code 1 if not."""
    from curation.stages import reproduce as stage
    from curation.storage import queries, rounds

    settings = connected(dataset)
    samples = queries.load_dataset(dataset)
    this = rounds.get_round(settings.home, samples.name, round_number)
    result = stage.reproduce(samples, this)
    show("reproduce", asdict(result))
    if not result.identical:
        raise typer.Exit(EXPECTED_ERROR)


def _labeler(samples: SampleCollection, this: Round, settings: Settings) -> Labeler | None:
    """Return who labeled the round, None where nobody was asked or nobody holds tasks."""
    from curation.labeling import factory

    name = this.record().get("labeler")
    if name is None or name == "oracle":
        return None
    return factory.create(name, samples, settings)
