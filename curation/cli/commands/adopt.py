"""The verb that takes a dataset of somebody's own into our rounds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from curation.cli.app import (
    DEFAULT_TAXONOMY,
    DatasetArgument,
    TaxonomyOption,
    app,
    connected,
    show,
    stage_bars,
    taxonomy_called,
)


@app.command(
    epilog="Example: curate adopt my_dataset --taxonomy construction_site "
    "--ground-truth people --split-from tags"
)
def adopt(
    dataset: DatasetArgument,
    taxonomy: TaxonomyOption = None,
    ground_truth: Annotated[
        str | None, typer.Option(help="The Detections field that people confirmed.")
    ] = None,
    split_from: Annotated[
        str | None,
        typer.Option(
            help="The field with each sample's split, or 'tags'. Default: all is the pool."
        ),
    ] = None,
    hold_back: Annotated[
        bool,
        typer.Option(
            help="Keep the labels of the train split for the oracle, to replay a project."
        ),
    ] = False,
) -> None:
    """Take a dataset that you have into rounds; its own fields stay as they are."""
    from curation.stages.adopt import adopt as adopt_dataset
    from curation.storage import queries

    connected(dataset)
    samples = queries.load_dataset(dataset)
    with stage_bars() as bars:
        result = adopt_dataset(
            samples,
            taxonomy=taxonomy_called(taxonomy or DEFAULT_TAXONOMY),
            ground_truth=ground_truth,
            split_from=split_from,
            hold_back=hold_back,
            progress=bars("adopt"),
        )
    show("adopt", asdict(result))
