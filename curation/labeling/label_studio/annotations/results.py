"""What a person submitted for one image, from the results of a Label Studio annotation.

Only annotations are read. A prediction that nobody opened is none; a region that came from a
prediction (`origin`) and was submitted counts as the person's who submitted it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade.geometry.boxes import iou
from cascade.taxonomy import Taxonomy
from curation.labeling.label_studio import label_config
from curation.labeling.label_studio.annotations import regions
from curation.labeling.label_studio.annotations.regions import Region
from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box

_SAME_OBJECT = 0.5  # IoU from which an outline is that of the box of its class


@dataclass(frozen=True, eq=False)
class Reading:
    """All that one annotation says.

    Attributes:
        drawn: Boxes, and doubts for what is none; empty means "nothing there".
        regions: What was drawn, with outlines and masks.
        decision: The answer about the image, `yes` or `no`; None where it was not answered.
        comment: What was written about the image.
    """

    drawn: tuple[Box | Doubt, ...]
    regions: tuple[Region, ...]
    decision: str | None
    comment: str


def read(
    annotation: Mapping[str, Any],
    *,
    taxonomy: Taxonomy,
    upright_size: tuple[int, int],
    orientation: int = regions.UPRIGHT,
) -> Reading | None:
    """Return what an annotation says; None where it is a skip, so that nothing was annotated.

    Args:
        annotation: As the server gives it: `result`, `was_cancelled`.
        taxonomy: What labels mean.
        upright_size: Width and height of the upright image.
        orientation: Of the stored image, by its EXIF, from 1 to 8.
    """
    if not is_submitted(annotation):
        return None
    result = annotation["result"]
    found = regions.read(result, upright_size, orientation)
    return Reading(
        drawn=tuple(_boxes(found, taxonomy)),
        regions=tuple(one for one in found if isinstance(one, Region)),
        decision=_answer(result),
        comment=_comment(result),
    )


def is_submitted(annotation: Mapping[str, Any]) -> bool:
    """Return whether a person finished it: skipped tasks and those without a result are not."""
    return not annotation.get("was_cancelled") and annotation.get("result") is not None


def to_boxes(
    result: Sequence[Mapping[str, Any]],
    *,
    taxonomy: Taxonomy,
    upright_size: tuple[int, int],
    orientation: int = regions.UPRIGHT,
) -> list[Box | Doubt]:
    """Return the boxes of the results of one annotation, in order; none means "nothing there".

    * A rotated rectangle, a polygon and a mask become the box that encloses them, unless a
      rectangle of the same class is there already (IoU of 0.5 or more): one object, one box.
    * A region with several labels becomes a box for each class that they mean.
    * A point has no extent. It belongs to a box of its class that it lies in, or is a doubt.
    * What means no class, or cannot be read, is a doubt. Answers about the image are no boxes.

    Args:
        result: The regions and answers.
        taxonomy: What labels mean.
        upright_size: Width and height of the upright image.
        orientation: Of the stored image, by its EXIF, from 1 to 8.
    """
    return _boxes(regions.read(result, upright_size, orientation), taxonomy)


def _boxes(found: Sequence[Region | Doubt], taxonomy: Taxonomy) -> list[Box | Doubt]:
    boxes: list[Box | Doubt] = []
    rectangles = [one for one in found if isinstance(one, Region) and one.kind == "box"]
    shapes = [one for one in found if isinstance(one, Region) and one.kind != "point"]
    for one in found:
        if isinstance(one, Doubt):
            boxes.append(one)
            continue
        for label, name in _meanings(one, taxonomy):
            if name is None:
                boxes.append(_unknown(label, taxonomy))
            elif one.kind == "point":
                if not any(_contains(shape, one, name, taxonomy) for shape in shapes):
                    boxes.append(_lonely(label))
            elif one.kind == "box" or not _is_outline_of_one(one, name, rectangles, taxonomy):
                boxes.append(Box(label, *one.corners))
    return boxes


def _meanings(region: Region, taxonomy: Taxonomy) -> list[tuple[str, str | None]]:
    """Return each label and its class; of several that mean one class, the first."""
    meanings: dict[str, tuple[str, str | None]] = {}
    for label in region.labels:
        name = taxonomy.canonical(label)
        meanings.setdefault(label if name is None else f"={name}", (label, name))
    return list(meanings.values())


def _is_of(region: Region, name: str, taxonomy: Taxonomy) -> bool:
    return any(taxonomy.canonical(label) == name for label in region.labels)


def _contains(shape: Region, point: Region, name: str, taxonomy: Taxonomy) -> bool:
    x, y = point.corners[:2]
    x1, y1, x2, y2 = shape.corners
    return x1 <= x <= x2 and y1 <= y <= y2 and _is_of(shape, name, taxonomy)


def _is_outline_of_one(
    region: Region, name: str, rectangles: Sequence[Region], taxonomy: Taxonomy
) -> bool:
    rows = [one.corners for one in rectangles if _is_of(one, name, taxonomy)]
    if not rows:
        return False
    overlaps = iou(np.array([region.corners]), np.array(rows))
    return bool(overlaps.max() >= _SAME_OBJECT)


def _unknown(label: str, taxonomy: Taxonomy) -> Doubt:
    return Doubt(
        what=label,
        reason=f"No class of the taxonomy {taxonomy.name!r} is called {label!r}. "
        "Correct the label, or add it to the synonyms of a class, and pull again.",
    )


def _lonely(label: str) -> Doubt:
    return Doubt(
        what=label,
        reason="A point says where something is, but not how large. Draw a box around it.",
    )


def _answer(result: Iterable[Any]) -> str | None:
    chosen = _of_control(result, label_config.DECISION, "choices")
    return next((one for one in chosen if one in (label_config.YES, label_config.NO)), None)


def _comment(result: Iterable[Any]) -> str:
    return "\n".join(_of_control(result, label_config.COMMENT, "text"))


def _of_control(result: Iterable[Any], name: str, key: str) -> list[str]:
    """Return what was chosen or written in one control."""
    said: list[str] = []
    for one in result:
        if isinstance(one, Mapping) and one.get("from_name") == name:
            written = regions.value_of(one).get(key) or []
            said.extend(map(str, written if isinstance(written, list | tuple) else [written]))
    return said
