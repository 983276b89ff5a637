"""What a round trains on, as a snapshot takes it: every labeled image up to that round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cascade.taxonomy import Taxonomy
from curation import fields, store
from curation.active_learning.training.snapshot import LabeledImage


def labeled_images(
    dataset: Any, taxonomy: Taxonomy, *, up_to_round: int | None = None
) -> Iterator[LabeledImage]:
    """Give the labeled images of a dataset.

    Args:
        dataset: The FiftyOne dataset.
        taxonomy: What labels mean.
        up_to_round: Leave out what later rounds labeled; None for all.
    """
    view = dataset.exists(fields.LABELED_ROUND)
    if up_to_round is not None:
        view = view.match({fields.LABELED_ROUND: {"$lte": up_to_round}})
    columns = store.read_columns(view, ["filepath", fields.CONTENT_HASH, fields.SPLIT])
    truths = store.read_detections(view, fields.GROUND_TRUTH, taxonomy)
    rows = zip(
        columns[fields.CONTENT_HASH], columns["filepath"], columns[fields.SPLIT], truths,
        strict=True,
    )  # fmt: skip
    for content, path, split, truth in rows:
        yield LabeledImage(content=content or path, split=split or "", truth=truth)
