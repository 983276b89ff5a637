"""Operations that read the ensemble's outputs; results are small, lists come in pages."""

from __future__ import annotations

from typing import Any

from cascade.adjudication import crops
from cascade.adjudication.crops import Region
from cascade.adjudication.prompts import rounded
from cascade.adjudication.tools import (
    CompareSizes,
    CountVotes,
    ListBoxes,
    Look,
    OperationError,
    Query,
)
from cascade.adjudication.view import CONSENSUS, Box, View
from cascade.errors import nearest
from cascade.taxonomy import ObjectClass

PAGE = 12  # boxes per page


def answer(query: Query, view: View) -> dict[str, Any]:
    """Return the result of a query.

    Raises:
        OperationError: A name or page does not exist; the message lists the existing ones.
    """
    match query:
        case CountVotes():
            return _count_votes(query, view)
        case ListBoxes():
            return _list_boxes(query, view)
        case CompareSizes():
            return {"sizes": [_describe_size(find_box(name, view), view) for name in query.boxes]}


def find_box(name: str, view: View) -> Box:
    """Return the box of that name.

    Raises:
        OperationError: The view has no such box.
    """
    for box in view.boxes:
        if box.id == name:
            return box
    raise OperationError(
        f"No box is named {name!r}; list_boxes names the {len(view.boxes)} boxes here."
    )


def look_region(look: Look, view: View) -> Region:
    """Return the region to look at: the given region, or the surroundings of the box.

    Raises:
        OperationError: The view has no such box.
    """
    if look.box is not None:
        return crops.region_around(find_box(look.box, view).xyxy)
    if look.region is None:
        raise OperationError("name either a box or a region")
    return look.region


def _count_votes(query: CountVotes, view: View) -> dict[str, Any]:
    label = _find_class(query.class_, view).name
    best: dict[str, float] = {}
    for box in view.boxes:
        if box.label == label:
            best[box.source] = max(box.p, best.get(box.source, 0.0))
    able = [name for name, classes in view.vocabulary.items() if label in classes]
    return {
        "class": label,
        "seen_by": {name: rounded(best[name]) for name in able if name in best},
        "not_seen_by": [name for name in able if name not in best],
        "cannot_name_it": [name for name in view.vocabulary if name not in able],
        "consensus_p": rounded(best.get(CONSENSUS)),
        "outlined_by_a_segmenter": label in view.masked,
        "named_by": [
            name
            for name, answer in view.answers.items()
            if label in view.taxonomy.vocabulary(answer.objects)
        ],
    }


def _list_boxes(query: ListBoxes, view: View) -> dict[str, Any]:
    label = None if query.class_ is None else _find_class(query.class_, view).name
    sources = (CONSENSUS, *view.vocabulary)
    if query.member is not None and query.member not in sources:
        hint = nearest(query.member, sources)
        raise OperationError(f"No member is named {query.member!r}. {hint}")
    boxes = [
        box
        for box in view.boxes
        if label in (None, box.label)
        and query.member in (None, box.source)
        and (query.region is None or crops.contains_center(query.region, box.xyxy))
        and box.p >= query.at_least_p
    ]
    pages = max(1, -(-len(boxes) // PAGE))
    if query.page > pages:
        raise OperationError(f"Page {query.page} does not exist: the last one is {pages}.")
    return {
        "total": len(boxes),
        "page": query.page,
        "pages": pages,
        "boxes": [
            {
                "id": box.id,
                "by": box.source,
                "class": box.label,
                "p": rounded(box.p),
                "box": [rounded(coordinate, 3) for coordinate in box.xyxy],
            }
            for box in boxes[(query.page - 1) * PAGE : query.page * PAGE]
        ],
    }


def _describe_size(box: Box, view: View) -> dict[str, Any]:
    classes = {object_class.name: object_class for object_class in view.taxonomy.classes}
    object_class = classes.get(box.label)
    usual = {
        "usual_height_m": object_class and object_class.height_m,
        "usual_width_m": object_class and object_class.width_m,
    }
    identity = {"id": box.id, "class": box.label}
    if box.size is None:
        of_consensus = box.source == CONSENSUS
        reason = "no depth is known" if of_consensus else "only consensus boxes have sizes"
        return {**identity, "unknown": reason, **usual}
    return {
        **identity,
        "distance_m": rounded(box.size.distance_m),
        "height_m": rounded(box.size.height_m),
        "width_m": rounded(box.size.width_m),
        "plausible": box.size.plausible,
        **usual,
    }


def _find_class(label: str, view: View) -> ObjectClass:
    name = view.taxonomy.canonical(label)
    for object_class in view.taxonomy.classes:
        if object_class.name == name:
            return object_class
    raise OperationError(f"No class is named {label!r}. {nearest(label, view.taxonomy.names)}")
