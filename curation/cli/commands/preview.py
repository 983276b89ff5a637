"""Commands `preview` (labeling cost) and `review` (suspicious labels)."""

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
    connect,
    say,
    show,
)
from curation.pipeline.dataset_ensemble import ensemble_for


@app.command(epilog="Example: curate preview clips --budget 40")
def preview(
    dataset: DatasetArgument, budget: BudgetOption = None, round_number: RoundOption = 1
) -> None:
    """Estimate the labeling cost of a round, and whether the last rounds were worth it."""
    from curation.labeling.cost.inputs import preview_round
    from curation.pipeline import run_round
    from curation.storage import queries

    settings = connect(dataset)
    samples = queries.load_dataset(dataset)
    estimate = preview_round(
        samples, round_number, settings, budget=run_round.resolve_budget(samples, budget)
    )
    say(estimate.cost.sentence)
    say(estimate.rates.source)
    if not estimate.chosen:
        say("No batch is chosen yet; the estimate uses the hardest samples of the pool.")
    say(estimate.advice)


@app.command(epilog="Example: curate review clips --limit 100")
def review(
    dataset: DatasetArgument,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of boxes to mark.")] = 200,
    manifest: ManifestOption = "tiny",
    taxonomy: TaxonomyOption = None,
) -> None:
    """Mark suspicious ground-truth boxes: tag, field and saved view `review`."""
    from curation.stages.review import review as review_samples
    from curation.storage import queries

    settings = connect(dataset)
    samples = queries.load_dataset(dataset)
    ensemble = ensemble_for(samples, settings, manifest, taxonomy)
    show("review", asdict(review_samples(samples, ensemble, limit=limit)))
