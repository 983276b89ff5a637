"""Saved views for common questions, added to a dataset when their fields exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from curation.presentation import error_analysis
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView

HARDEST = "hardest"  # the App opens on it
_N_HARDEST = 200
_LOW_AGREEMENT = 0.65  # below it the cascade takes the precision path


def save(dataset: Dataset) -> list[str]:
    """Save the views whose fields the dataset has; return the names of new views.

    A view of the same name that the user saved stays unchanged.
    """
    new = [
        name
        for name, (applies, _) in _VIEWS.items()
        if applies(dataset) and not dataset.has_saved_view(name)
    ]
    for name in new:
        dataset.save_view(name, _VIEWS[name][1](dataset))
    return new


def _hardest(dataset: Dataset) -> DatasetView:
    scored = dataset.exists(schema.HARDNESS)
    return scored.sort_by(schema.HARDNESS, reverse=True).limit(_N_HARDEST)


def _disagreements(dataset: Dataset) -> DatasetView:
    below = {schema.AGREEMENT: {"$lt": _LOW_AGREEMENT}}
    return dataset.match(below).sort_by(schema.AGREEMENT)


def _far(dataset: Dataset) -> DatasetView:
    """Return the samples where the consensus, or without one any member, missed a far object."""
    is_fused = schema.CONSENSUS in dataset.get_field_schema()
    far = {"$in": [schema.CONSENSUS]} if is_fused else {"$exists": True, "$nin": [None, []]}
    return dataset.match({error_analysis.FAR_MISSED_BY: far})


def _has(field: str) -> Callable[[Dataset], bool]:
    return lambda dataset: field in dataset.get_field_schema()


_VIEWS: dict[str, tuple[Callable[[Dataset], bool], Callable[[Dataset], DatasetView]]] = {
    HARDEST: (_has(schema.HARDNESS), _hardest),
    "disagreements": (_has(schema.AGREEMENT), _disagreements),
    "hallucinations": (
        lambda dataset: bool(schema.answer_fields(dataset)),
        schema.contradicting_samples,
    ),
    "false negatives far away": (_has(error_analysis.FAR_MISSED_BY), _far),
    "night": (
        _has(schema.TIME_OF_DAY),
        lambda dataset: dataset.match({schema.TIME_OF_DAY: "night"}),
    ),
    "near duplicates": (
        _has(schema.RANK),
        lambda dataset: dataset.match_tags(schema.NEAR_DUPLICATE),
    ),
    "exact duplicates": (
        _has(schema.CONTENT_HASH),
        lambda dataset: dataset.match_tags(schema.DUPLICATE).sort_by(schema.CONTENT_HASH),
    ),
    "failed": (
        _has(schema.FAILURES),
        lambda dataset: dataset.match({f"{schema.FAILURES}.0": {"$exists": True}}),
    ),
}
