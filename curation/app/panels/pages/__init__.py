"""Pages of the App's panels, one module per panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curation.app.panels.components import Page

if TYPE_CHECKING:
    from fiftyone import Dataset


def empty_dataset(dataset: Dataset) -> Page:
    """Return the page of a dataset without samples."""
    return Page.message(
        "The dataset is empty", f"Ingest images: `curate ingest FOLDER --name {dataset.name}`."
    )
