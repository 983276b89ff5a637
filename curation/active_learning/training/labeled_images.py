"""Labeled images up to a round, for snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cascade.taxonomy import Taxonomy
from curation.active_learning.training.snapshot import LabeledImage
from curation.storage import reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset


def labeled_images(
    dataset: Dataset, taxonomy: Taxonomy, *, up_to_round: int | None = None
) -> Iterator[LabeledImage]:
    """Yield the labeled images of a dataset.

    Args:
        dataset: The FiftyOne dataset.
        taxonomy: Maps labels to classes.
        up_to_round: Last round of labeling; all rounds by default.
    """
    view = dataset.exists(schema.LABELED_ROUND)
    if up_to_round is not None:
        view = view.match({schema.LABELED_ROUND: {"$lte": up_to_round}})
    columns = reader.read_columns(view, ["filepath", schema.CONTENT_HASH, schema.SPLIT])
    truths = reader.read_detections(view, schema.GROUND_TRUTH, taxonomy)
    rows = zip(
        columns[schema.CONTENT_HASH], columns["filepath"], columns[schema.SPLIT], truths,
        strict=True,
    )  # fmt: skip
    for content, path, split, truth in rows:
        yield LabeledImage(content=content or path, split=split or "", truth=truth)
