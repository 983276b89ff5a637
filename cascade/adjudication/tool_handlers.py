"""The operations that read the ensemble's outputs: small answers, a page at a time."""

from __future__ import annotations

from typing import Any

from cascade.adjudication import crops
from cascade.adjudication.crops import Region
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

PAGE = 12  # boxes


def answer(query: Query, view: View) -> dict[str, Any]:
    """Return what a query asks for.

    Raises:
        OperationError: It names what is not there; the message says what is.
    """
    match query:
        case CountVotes():
            return _votes(query, view)
        case ListBoxes():
            return _boxes(query, view)
        case CompareSizes():
            return {"sizes": [_size(box_named(name, view), view) for name in query.boxes]}


def box_named(name: str, view: View) -> Box:
    """Return a box of the view.

    Raises:
        OperationError: It has none of that name.
    """
    for one in view.boxes:
        if one.id == name:
            return one
    raise OperationError(
        f"There is no box {name!r} here; list_boxes names the {len(view.boxes)} that are."
    )


def place(look: Look, view: View) -> Region:
    """Return where to look: the region, or what is around the box.

    Raises:
        OperationError: There is no box of that name.
    """
    if look.box is not None:
        return crops.around(box_named(look.box, view).xyxy)
    if look.region is None:
        raise OperationError("name either a box or a region")
    return look.region


def _votes(query: CountVotes, view: View) -> dict[str, Any]:
    label = _class_named(query.class_, view).name
    best: dict[str, float] = {}
    for one in view.boxes:
        if one.label == label:
            best[one.by] = max(one.p, best.get(one.by, 0.0))
    able = [name for name, classes in view.vocabulary.items() if label in classes]
    return {
        "class": label,
        "seen_by": {name: _rounded(best[name]) for name in able if name in best},
        "not_seen_by": [name for name in able if name not in best],
        "cannot_name_it": [name for name in view.vocabulary if name not in able],
        "consensus_p": _rounded(best.get(CONSENSUS)),
        "outlined_by_a_segmenter": label in view.masked,
        "named_by": [
            name
            for name, said in view.answers.items()
            if label in view.taxonomy.vocabulary(said.objects)
        ],
    }


def _boxes(query: ListBoxes, view: View) -> dict[str, Any]:
    label = None if query.class_ is None else _class_named(query.class_, view).name
    known = (CONSENSUS, *view.vocabulary)
    if query.member is not None and query.member not in known:
        raise OperationError(f"No member is named {query.member!r}. {nearest(query.member, known)}")
    found = [
        one
        for one in view.boxes
        if (label is None or one.label == label)
        and (query.member is None or one.by == query.member)
        and (query.region is None or crops.holds(query.region, one.xyxy))
        and one.p >= query.at_least_p
    ]
    pages = max(1, -(-len(found) // PAGE))
    if query.page > pages:
        raise OperationError(f"There is no page {query.page}: the last one is {pages}.")
    shown = found[(query.page - 1) * PAGE : query.page * PAGE]
    return {
        "total": len(found),
        "page": query.page,
        "pages": pages,
        "boxes": [_described(one) for one in shown],
    }


def _described(box: Box) -> dict[str, Any]:
    return {
        "id": box.id,
        "by": box.by,
        "class": box.label,
        "p": _rounded(box.p),
        "box": [_rounded(one, 3) for one in box.xyxy],
    }


def _size(box: Box, view: View) -> dict[str, Any]:
    of_class = {one.name: one for one in view.taxonomy.classes}.get(box.label)
    usual = {
        "usual_height_m": of_class and of_class.height_m,
        "usual_width_m": of_class and of_class.width_m,
    }
    if box.size is None:
        of_whom = "no depth is known" if box.by == CONSENSUS else "only consensus boxes have sizes"
        return {"id": box.id, "class": box.label, "unknown": of_whom, **usual}
    return {
        "id": box.id,
        "class": box.label,
        "distance_m": _rounded(box.size.distance_m),
        "height_m": _rounded(box.size.height_m),
        "width_m": _rounded(box.size.width_m),
        "plausible": box.size.plausible,
        **usual,
    }


def _class_named(label: str, view: View) -> ObjectClass:
    name = view.taxonomy.canonical(label)
    for one in view.taxonomy.classes:
        if one.name == name:
            return one
    raise OperationError(f"No class is named {label!r}. {nearest(label, view.taxonomy.names)}")


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)
