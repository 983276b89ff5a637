"""Content of a Label Studio annotation for one image.

Only annotations are read. An unopened prediction is not an annotation; a submitted region that
came from a prediction (`origin`) counts as the annotator's.
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
from curation.labeling.submissions import Box, unknown_label

_SAME_OBJECT_IOU = 0.5  # between an outline and the box of the same object


@dataclass(frozen=True, eq=False)
class AnnotationContent:
    """Content of one annotation.

    Attributes:
        boxes: Boxes in order, and doubts; empty means "nothing there".
        regions: Drawn regions, with outlines and masks.
        decision: Answer about the image, `yes` or `no`; None if not answered.
        comment: Comment about the image.
    """

    boxes: tuple[Box | Doubt, ...]
    regions: tuple[Region, ...]
    decision: str | None
    comment: str


def read(
    annotation: Mapping[str, Any],
    *,
    taxonomy: Taxonomy,
    upright_size: tuple[int, int],
    orientation: int = regions.UPRIGHT,
) -> AnnotationContent | None:
    """Return the content of an annotation; None if it was skipped.

    * A rotated rectangle, a polygon and a mask become their enclosing box, unless a rectangle of
      the same class already covers the object (IoU of 0.5 or more).
    * A region with several labels becomes a box for each of their classes.
    * A point has no area. It belongs to a box of its class around it; otherwise it is a doubt.
    * A label without a class, and an unreadable region, are doubts. Answers do not become boxes.

    Args:
        annotation: Annotation from the server: `result`, `was_cancelled`.
        taxonomy: Classes of the dataset.
        upright_size: Width and height of the upright image.
        orientation: EXIF orientation of the stored image, from 1 to 8.
    """
    result = annotation.get("result")
    if annotation.get("was_cancelled") or result is None:
        return None
    entries = regions.read(result, upright_size, orientation)
    answers = _values(result, label_config.DECISION, "choices")
    valid = (label_config.YES, label_config.NO)
    return AnnotationContent(
        boxes=tuple(_boxes(entries, taxonomy)),
        regions=tuple(entry for entry in entries if isinstance(entry, Region)),
        decision=next((answer for answer in answers if answer in valid), None),
        comment="\n".join(_values(result, label_config.COMMENT, "text")),
    )


def _boxes(entries: Sequence[Region | Doubt], taxonomy: Taxonomy) -> list[Box | Doubt]:
    boxes: list[Box | Doubt] = []
    drawn = [entry for entry in entries if isinstance(entry, Region)]
    rectangles = [region for region in drawn if region.kind == "box"]
    shapes = [region for region in drawn if region.kind != "point"]
    for entry in entries:
        if isinstance(entry, Doubt):
            boxes.append(entry)
            continue
        for label, name in _classes(entry, taxonomy):
            if name is None:
                boxes.append(unknown_label(label, taxonomy))
            elif entry.kind == "point":
                if not any(_contains(shape, entry, name, taxonomy) for shape in shapes):
                    boxes.append(_stray_point(label))
            elif entry.kind == "box" or not _outlines_a_box(entry, name, rectangles, taxonomy):
                boxes.append(Box(label, *entry.corners))
    return boxes


def _classes(region: Region, taxonomy: Taxonomy) -> list[tuple[str, str | None]]:
    """Return each label with its class; of several labels of one class, the first."""
    classes: dict[str, tuple[str, str | None]] = {}
    for label in region.labels:
        name = taxonomy.canonical(label)
        classes.setdefault(label if name is None else f"={name}", (label, name))
    return list(classes.values())


def _has_class(region: Region, name: str, taxonomy: Taxonomy) -> bool:
    return any(taxonomy.canonical(label) == name for label in region.labels)


def _contains(shape: Region, point: Region, name: str, taxonomy: Taxonomy) -> bool:
    x, y = point.corners[:2]
    x1, y1, x2, y2 = shape.corners
    return x1 <= x <= x2 and y1 <= y <= y2 and _has_class(shape, name, taxonomy)


def _outlines_a_box(
    region: Region, name: str, rectangles: Sequence[Region], taxonomy: Taxonomy
) -> bool:
    rows = [other.corners for other in rectangles if _has_class(other, name, taxonomy)]
    if not rows:
        return False
    overlaps = iou(np.array([region.corners]), np.array(rows))
    return bool(overlaps.max() >= _SAME_OBJECT_IOU)


def _stray_point(label: str) -> Doubt:
    return Doubt(label, "A point has a position but no size. Draw a box around it.")


def _values(result: Iterable[Any], control: str, key: str) -> list[str]:
    """Return the choices or texts of one control."""
    values: list[str] = []
    for item in result:
        if isinstance(item, Mapping) and item.get("from_name") == control:
            value = regions.value_of(item).get(key) or []
            values.extend(map(str, value if isinstance(value, list | tuple) else [value]))
    return values
