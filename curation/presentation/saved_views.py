"""The views that people open first, saved with the dataset as soon as what they show is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from curation import fields
from curation.presentation import error_analysis

_HARDEST = 200  # samples in the saved view
_DISAGREE_BELOW = 0.65  # design: below this agreement the cascade looks again


def save(dataset: Any) -> list[str]:
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


def _hardest(dataset: Any) -> Any:
    known = dataset.exists(fields.HARDNESS)
    return known.sort_by(fields.HARDNESS, reverse=True).limit(_HARDEST)


def _disagreements(dataset: Any) -> Any:
    below = {fields.AGREEMENT: {"$lt": _DISAGREE_BELOW}}
    return dataset.match(below).sort_by(fields.AGREEMENT)


def _far(dataset: Any) -> Any:
    """Return where the ensemble missed a far object; any member, where there is no ensemble."""
    fused = fields.CONSENSUS in dataset.get_field_schema()
    far = {"$in": [fields.CONSENSUS]} if fused else {"$exists": True, "$nin": [None, []]}
    return dataset.match({error_analysis.FAR_MISSED_BY: far})


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda dataset: all(one in dataset.get_field_schema() for one in names)


_VIEWS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    "hardest": (_has(fields.HARDNESS), _hardest),
    "disagreements": (_has(fields.AGREEMENT), _disagreements),
    "hallucinations": (lambda one: bool(fields.answer_fields(one)), fields.contradicting),
    "false negatives far away": (_has(error_analysis.FAR_MISSED_BY), _far),
    "night": (
        _has(fields.TIME_OF_DAY),
        lambda one: one.match({fields.TIME_OF_DAY: "night"}),
    ),
    "near duplicates": (
        _has(fields.RANK),
        lambda one: one.match_tags(fields.NEAR_DUPLICATE),
    ),
    "exact duplicates": (
        _has(fields.CONTENT_HASH),
        lambda one: one.match_tags(fields.DUPLICATE).sort_by(fields.CONTENT_HASH),
    ),
    "failed": (
        _has(fields.FAILURES),
        lambda one: one.match({f"{fields.FAILURES}.0": {"$exists": True}}),
    ),
}
