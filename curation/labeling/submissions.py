"""Submitted boxes, converted to ground truth or to doubts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.labeling.protocol import Doubt, SampleAnnotation

_OVERSHOOT = 0.02  # of the image's side: tolerance for boxes drawn over the border


@dataclass(frozen=True)
class Box:
    """One box, with the label as written by the annotator.

    Attributes:
        label: Class name as written.
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
    """A submission for one image.

    Attributes:
        boxes: Boxes in the classes of the taxonomy.
        doubts: Parts that could not be interpreted and are not in `boxes`.
        annotator: Name of the annotator.
    """

    boxes: Detections
    doubts: tuple[Doubt, ...]
    annotator: str

    def for_sample(self, sample_id: str) -> SampleAnnotation:
        """Return the submission as the annotation of a sample, without a labeling time."""
        return SampleAnnotation(
            sample_id=sample_id,
            boxes=self.boxes,
            annotator=self.annotator,
            seconds=None,
            complete=not self.doubts,
            doubts=self.doubts,
        )


def build_submission(
    entries: Iterable[Box | Doubt], *, taxonomy: Taxonomy, annotator: str = "files"
) -> Submission:
    """Return the boxes in canonical classes; a box without a class becomes a doubt.

    Sides slightly outside the image are clipped to its border.
    """
    rows: list[tuple[float, float, float, float]] = []
    class_ids: list[int] = []
    doubts: list[Doubt] = []
    for entry in entries:
        checked = entry if isinstance(entry, Doubt) else _check(entry, taxonomy)
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
    """Return boxes of relative corners as ground truth, with score 1."""
    boxes = np.asarray(list(rows), np.float64).reshape(-1, 4)
    return Detections(
        boxes_xyxy=boxes,
        scores=np.ones(len(boxes), np.float32),
        class_ids=np.asarray(list(class_ids), np.int64),
        classes=classes,
    )


def unknown_label(label: str, taxonomy: Taxonomy) -> Doubt:
    """Return the doubt about a label that is not in the taxonomy."""
    return Doubt(
        label,
        f"The taxonomy {taxonomy.name!r} has no class {label!r}. "
        "Correct the label, or add it to the synonyms of a class, and pull again.",
    )


def _check(box: Box, taxonomy: Taxonomy) -> Box | Doubt:
    sides = (box.x1, box.y1, box.x2, box.y2)
    subject = f"{box.label} at {sides}"
    if taxonomy.canonical(box.label) is None:
        return unknown_label(box.label, taxonomy)
    if not all(math.isfinite(side) for side in sides):
        return Doubt(subject, "The box has a side that is not a finite number.")
    if box.x1 > box.x2 or box.y1 > box.y2:
        return Doubt(subject, "The box has a negative size.")
    if min(sides) < -_OVERSHOOT or max(sides) > 1 + _OVERSHOOT:
        return Doubt(subject, "The box extends far beyond the image's border.")
    return box


def _clip(side: float) -> float:
    return min(max(side, 0.0), 1.0)
