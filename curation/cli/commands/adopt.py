"""Command `adopt`: use an existing FiftyOne dataset in rounds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from curation.cli.app import (
    DEFAULT_TAXONOMY,
    DatasetArgument,
    HoldBackOption,
    TaxonomyOption,
    app,
    connect,
    show,
    stage_bars,
)


@app.command(
    epilog="Example: curate adopt my_dataset --taxonomy construction_site "
    "--ground-truth people --split-from tags"
)
def adopt(
    dataset: DatasetArgument,
    taxonomy: TaxonomyOption = None,
    ground_truth: Annotated[
        str | None, typer.Option(help="Detections field confirmed by people.")
    ] = None,
    split_from: Annotated[
        str | None,
        typer.Option(
            help="Field with the split of each sample, or 'tags'. Default: put all in the pool."
        ),
    ] = None,
    hold_back: HoldBackOption = False,
) -> None:
    """Prepare an existing dataset for rounds; its own fields are not changed."""
    from cascade import taxonomy as taxonomies
    from curation.stages.adopt import adopt as adopt_dataset
    from curation.storage import queries

    connect(dataset)
    samples = queries.load_dataset(dataset)
    with stage_bars() as bars:
        result = adopt_dataset(
            samples,
            taxonomy=taxonomies.load(taxonomy or DEFAULT_TAXONOMY),
            ground_truth=ground_truth,
            split_from=split_from,
            hold_back=hold_back,
            progress=bars("adopt"),
        )
    show("adopt", asdict(result))
