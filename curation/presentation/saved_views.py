"""The views that people open first, saved with the dataset as soon as what they show is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from curation.presentation import error_analysis
from curation.storage import schema

if TYPE_CHECKING:
    from fiftyone import Dataset

_HARDEST = 200  # samples in the saved view
_DISAGREE_BELOW = 0.65  # design: below this agreement the cascade looks again


def save(dataset: Dataset) -> list[str]:
    """Save the views whose fields the dataset has; return the names of those that are new.

    A view of the same name that the user saved stays as it is.
    """
    new = [
        name
        for name, (needs, _) in _VIEWS.items()
        if needs(dataset) and not dataset.has_saved_view(name)
    ]
    for name in new:
        dataset.save_view(name, _VIEWS[name][1](dataset))
    return new


def _hardest(dataset: Dataset) -> Any:
    known = dataset.exists(schema.HARDNESS)
    return known.sort_by(schema.HARDNESS, reverse=True).limit(_HARDEST)


def _disagreements(dataset: Dataset) -> Any:
    below = {schema.AGREEMENT: {"$lt": _DISAGREE_BELOW}}
    return dataset.match(below).sort_by(schema.AGREEMENT)


def _far(dataset: Dataset) -> Any:
    """Return where the ensemble missed a far object; any member, where there is no ensemble."""
    fused = schema.CONSENSUS in dataset.get_field_schema()
    far = {"$in": [schema.CONSENSUS]} if fused else {"$exists": True, "$nin": [None, []]}
    return dataset.match({error_analysis.FAR_MISSED_BY: far})


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda dataset: all(one in dataset.get_field_schema() for one in names)


_VIEWS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    "hardest": (_has(schema.HARDNESS), _hardest),
    "disagreements": (_has(schema.AGREEMENT), _disagreements),
    "hallucinations": (lambda one: bool(schema.answer_fields(one)), schema.contradicting),
    "false negatives far away": (_has(error_analysis.FAR_MISSED_BY), _far),
    "night": (
        _has(schema.TIME_OF_DAY),
        lambda one: one.match({schema.TIME_OF_DAY: "night"}),
    ),
    "near duplicates": (
        _has(schema.RANK),
        lambda one: one.match_tags(schema.NEAR_DUPLICATE),
    ),
    "exact duplicates": (
        _has(schema.CONTENT_HASH),
        lambda one: one.match_tags(schema.DUPLICATE).sort_by(schema.CONTENT_HASH),
    ),
    "failed": (
        _has(schema.FAILURES),
        lambda one: one.match({f"{schema.FAILURES}.0": {"$exists": True}}),
    ),
}
