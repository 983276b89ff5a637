"""Labeled images of a dataset as training examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cascade.taxonomy import Taxonomy
from cascade.training.examples import Example
from curation.errors import StageError
from curation.storage import collection, queries, reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset

MIN_EXAMPLES = 8  # labeled training images; with fewer, a fit would only memorize


def split_examples(dataset: Dataset, split: str, taxonomy: Taxonomy) -> list[Example]:
    """Return the images of a split that have ground truth."""
    view = queries.labeled(dataset, split)
    _, paths = collection.ids_and_paths(view)
    targets = reader.read_detections(view, schema.GROUND_TRUTH, taxonomy)
    return [Example(Path(path), target) for path, target in zip(paths, targets, strict=True)]


def training_examples(dataset: Dataset, taxonomy: Taxonomy) -> list[Example]:
    """Return the labeled training images.

    Raises:
        StageError: There are fewer than `MIN_EXAMPLES`.
    """
    examples = split_examples(dataset, "train", taxonomy)
    if len(examples) < MIN_EXAMPLES:
        raise StageError(
            f"{len(examples)} training samples are labeled; a fit needs at least "
            f"{MIN_EXAMPLES}. Label more of the chosen samples, then run the same command again."
        )
    return examples
