"""Ground truth merged from several annotators of an image, and their agreement.

Boxes of two annotators are the same object if they have the same class and an IoU of 0.5 or more;
the Hungarian method pairs them to maximize the sum of overlaps. Annotators are added one by one,
in the order of their names, each compared with the median of the earlier ones. The result does
not depend on the order of arrival.

The result for n annotators:

* An object exists if at least half of them drew it. At a tie (one of two) it is kept: objects are
  overlooked more often than invented, and the low agreement flags the image for review.
* Its class is the most frequent one: boxes of different classes are rivals for one place if their
  IoU is 0.5 or more and no annotator drew both. A tie of classes is a doubt, and the ground truth
  excludes the place.
* Its corners are the medians of the corners drawn with that class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from cascade.arrays import FloatArray
from cascade.geometry.boxes import iou
from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.protocol import Doubt
from curation.labeling.submissions import ground_truth

_SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True, eq=False)
class Version:
    """One annotator's submission.

    Attributes:
        annotator: Name of the annotator.
        boxes: Boxes in the classes of the taxonomy.
        submitted_at: Time of the submission; the latest of an annotator is used.
        seconds: Labeling time, if known.
    """

    annotator: str
    boxes: Detections
    submitted_at: datetime
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Resolution:
    """The merged submissions of an image.

    Attributes:
        boxes: The ground truth.
        agreement: Mean F1 over all pairs of annotators, in [0, 1]; 1 for a single one.
        versions: Latest version of each annotator, by name.
        seconds: Total time of all submissions, including superseded ones; None if unknown.
        doubts: Places with a tie of classes, which `boxes` excludes.
    """

    boxes: Detections
    agreement: float
    versions: tuple[Version, ...]
    seconds: float | None
    doubts: tuple[Doubt, ...] = ()


@dataclass(eq=False)
class _Object:
    """Boxes of one object, while annotators are added."""

    class_id: int
    rows: list[FloatArray] = field(default_factory=list)
    annotators: set[str] = field(default_factory=set)

    @property
    def corners(self) -> FloatArray:
        return np.median(np.array(self.rows, np.float64), axis=0)


def resolve(submissions: Iterable[Version]) -> Resolution:
    """Return the ground truth of one image, and the versions behind it.

    Raises:
        LabelingError: Without submissions, or if they use different classes.
    """
    all_versions = list(submissions)
    if not all_versions:
        raise LabelingError("Cannot create ground truth without a submission.")
    classes = all_versions[0].boxes.classes
    if any(version.boxes.classes != classes for version in all_versions):
        raise LabelingError("All submissions of an image must use the classes of one taxonomy.")
    versions = _latest(all_versions)
    objects, doubts = _decide(_objects(versions), len(versions), classes)
    rows = [tuple(obj.corners.tolist()) for obj in objects]
    seconds = [version.seconds for version in all_versions if version.seconds is not None]
    return Resolution(
        boxes=ground_truth(rows, [obj.class_id for obj in objects], classes),
        agreement=agreement([version.boxes for version in versions]),
        versions=versions,
        seconds=math.fsum(seconds) if seconds else None,
        doubts=doubts,
    )


def agreement(versions: Sequence[Detections]) -> float:
    """Return the mean F1 over all pairs, in [0, 1]; 1 for two empty versions, or a single one."""
    scores = [_f1(a, b) for a, b in combinations(versions, 2)]
    return math.fsum(scores) / len(scores) if scores else 1.0


def _latest(versions: Sequence[Version]) -> tuple[Version, ...]:
    """Return each annotator's latest version, by name; at equal times, the later in the input."""
    latest: dict[str, Version] = {}
    for version in versions:
        earlier = latest.get(version.annotator)
        if earlier is None or version.submitted_at >= earlier.submitted_at:
            latest[version.annotator] = version
    return tuple(latest[name] for name in sorted(latest))


def _objects(versions: Sequence[Version]) -> list[_Object]:
    objects: list[_Object] = []
    for version in versions:
        boxes, class_ids = version.boxes.boxes_xyxy, version.boxes.class_ids.tolist()
        corners = np.array([obj.corners for obj in objects]).reshape(-1, 4)
        pairs = dict(_pairs(boxes, class_ids, corners, [obj.class_id for obj in objects]))
        for i, class_id in enumerate(class_ids):
            if i not in pairs:
                objects.append(_Object(class_id))
            obj = objects[pairs.get(i, -1)]
            obj.rows.append(boxes[i])
            obj.annotators.add(version.annotator)
    return objects


def _decide(
    objects: Sequence[_Object], n_annotators: int, classes: Sequence[str]
) -> tuple[list[_Object], tuple[Doubt, ...]]:
    """Return the existing objects, and a doubt for each tie of classes."""
    existing: list[_Object] = []
    doubts: list[Doubt] = []
    for rivals in _places(objects):
        annotators = set().union(*(obj.annotators for obj in rivals))
        if 2 * len(annotators) < n_annotators:
            continue
        most = max(len(obj.annotators) for obj in rivals)
        winners = [obj for obj in rivals if len(obj.annotators) == most]
        if len(winners) == 1:
            existing.extend(winners)
        else:
            doubts.append(_tie(winners, classes))
    return existing, tuple(doubts)


def _places(objects: Sequence[_Object]) -> list[list[_Object]]:
    """Return the objects by place: rivals, and rivals of rivals, share one."""
    places: list[list[_Object]] = []
    for obj in objects:
        shared = [place for place in places if any(_are_rivals(obj, other) for other in place)]
        separate = [place for place in places if place not in shared]
        places = [*separate, [obj, *(other for place in shared for other in place)]]
    return places


def _tie(rivals: Sequence[_Object], classes: Sequence[str]) -> Doubt:
    ordered = sorted(rivals, key=lambda obj: obj.class_id)
    names = [classes[obj.class_id] for obj in ordered]
    votes = "; ".join(
        f"{name}: {', '.join(sorted(obj.annotators))}"
        for name, obj in zip(names, ordered, strict=True)
    )
    return Doubt(
        " or ".join(names),
        f"Annotators disagree on the class ({votes}). Ask another annotator to decide.",
    )


def _are_rivals(a: _Object, b: _Object) -> bool:
    return a.class_id != b.class_id and not a.annotators & b.annotators and _overlap(a, b)


def _overlap(a: _Object, b: _Object) -> bool:
    return bool(iou(a.corners[None], b.corners[None])[0, 0] >= _SAME_OBJECT_IOU)


def _f1(a: Detections, b: Detections) -> float:
    if not len(a) and not len(b):
        return 1.0
    pairs = _pairs(a.boxes_xyxy, a.class_ids.tolist(), b.boxes_xyxy, b.class_ids.tolist())
    return 2 * len(pairs) / (len(a) + len(b))


def _pairs(
    a_xyxy: FloatArray, a_classes: Sequence[int], b_xyxy: FloatArray, b_classes: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the index pairs of matching boxes with the largest sum of overlaps."""
    if not len(a_xyxy) or not len(b_xyxy):
        return []
    overlaps = iou(a_xyxy, b_xyxy)
    allowed = (overlaps >= _SAME_OBJECT_IOU) & np.equal.outer(a_classes, b_classes)
    weights = np.where(allowed, overlaps, 0.0)
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
