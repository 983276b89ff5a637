"""Boxes as somebody submitted them, one by one, turned into ground truth or into doubts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.labeling.protocol import Doubt

_OVERSHOOT = 0.02  # of the image's side: how far a hand may slip over the border


@dataclass(frozen=True)
class Box:
    """One box, with the label in the words of who drew it.

    Attributes:
        label: The class, as it was written.
        x1: Left side, relative to the image's width.
        y1: Upper side, relative to the image's height.
        x2: Right side.
        y2: Lower side.
    """

    label: str
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, eq=False)
class Submission:
    """What one file says about one image.

    Attributes:
        boxes: In the classes of the taxonomy.
        doubts: What could not be understood; nothing of it is in `boxes`.
        annotator: Who submitted it.
    """

    boxes: Detections
    doubts: tuple[Doubt, ...]
    annotator: str


def understand(
    drawn: Iterable[Box | Doubt], *, taxonomy: Taxonomy, annotator: str = "files"
) -> Submission:
    """Return the boxes in canonical classes; what means no class becomes a doubt.

    A side that slips a little over the image's border is set back onto it.
    """
    rows: list[tuple[float, float, float, float]] = []
    class_ids: list[int] = []
    doubts: list[Doubt] = []
    for one in drawn:
        checked = one if isinstance(one, Doubt) else _check(one, taxonomy)
        if isinstance(checked, Doubt):
            doubts.append(checked)
            continue
        rows.append((_clip(checked.x1), _clip(checked.y1), _clip(checked.x2), _clip(checked.y2)))
        class_ids.extend(taxonomy.ids_of([checked.label]))
    boxes = ground_truth(rows, class_ids, taxonomy.names)
    return Submission(boxes=boxes, doubts=tuple(doubts), annotator=annotator)


def ground_truth(
    rows: Iterable[tuple[float, float, float, float]],
    class_ids: Iterable[int],
    classes: tuple[str, ...],
) -> Detections:
    """Return boxes of relative corners as ground truth: score 1 everywhere."""
    boxes = np.asarray(list(rows), np.float64).reshape(-1, 4)
    return Detections(
        boxes_xyxy=boxes,
        scores=np.ones(len(boxes), np.float32),
        class_ids=np.asarray(list(class_ids), np.int64),
        classes=classes,
    )


def _check(box: Box, taxonomy: Taxonomy) -> Box | Doubt:
    sides = (box.x1, box.y1, box.x2, box.y2)
    if taxonomy.canonical(box.label) is None:
        return Doubt(
            what=box.label,
            reason=f"No class of the taxonomy {taxonomy.name!r} is called {box.label!r}. "
            "Correct the label, or add it to the synonyms of a class, and pull again.",
        )
    if not all(math.isfinite(side) for side in sides):
        return Doubt(what=f"{box.label} at {sides}", reason="The box has a side that is no number.")
    if box.x1 > box.x2 or box.y1 > box.y2:
        return Doubt(what=f"{box.label} at {sides}", reason="The box has a negative size.")
    if min(sides) < -_OVERSHOOT or max(sides) > 1 + _OVERSHOOT:
        return Doubt(
            what=f"{box.label} at {sides}", reason="The box reaches far beyond the image's border."
        )
    return box


def _clip(side: float) -> float:
    return min(max(side, 0.0), 1.0)
