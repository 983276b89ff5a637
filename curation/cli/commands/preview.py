"""The verbs that say where labeling pays: preview its cost, review labels that look wrong."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from curation.cli.app import (
    BudgetOption,
    DatasetArgument,
    ManifestOption,
    RoundOption,
    TaxonomyOption,
    app,
    connected,
    ensemble_for,
    say,
    show,
)


@app.command(epilog="Example: curate preview clips --budget 40")
def preview(
    dataset: DatasetArgument, budget: BudgetOption = None, round_number: RoundOption = 1
) -> None:
    """Say what labeling a round will cost, and whether the last ones were worth it."""
    from curation.labeling.cost.inputs import outlook
    from curation.pipeline import run_round
    from curation.storage import queries

    settings = connected(dataset)
    samples = queries.load_dataset(dataset)
    found = outlook(samples, round_number, settings, budget=run_round.budget(samples, budget))
    say(found.cost.sentence)
    say(found.rates.source)
    if not found.chosen:
        say("Nothing is chosen yet: the hardest samples of the pool stand for the batch.")
    say(found.advice)


@app.command(epilog="Example: curate review clips --limit 100")
def review(
    dataset: DatasetArgument,
    limit: Annotated[int, typer.Option(min=1, help="Boxes to mark, at most.")] = 200,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
) -> None:
    """Mark boxes of the ground truth that look wrong: the tag, field and saved view `review`."""
    from curation.stages.review import review as review_samples
    from curation.storage import queries

    settings = connected(dataset)
    samples = queries.load_dataset(dataset)
    ensemble = ensemble_for(samples, settings, manifest, taxonomy)
    show("review", asdict(review_samples(samples, ensemble, limit=limit)))
