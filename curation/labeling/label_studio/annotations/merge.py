"""One ground truth from what several people drew on the same image, and how far they agree.

Boxes of two people are the same object where they have the same class and an IoU of 0.5 or
more; the Hungarian method pairs them so that the overlaps have the largest sum.
People join one after the other, in the order of their names, each against the median of those
before, so the result does not depend on the order of arrival.

What comes of it, where n people looked:

* Something is there that at least half of them drew. At a tie (one of two) it stays: more is
  overlooked than is invented, and the agreement falls, so the image can be looked at again.
* It has the class that most of them gave it: boxes of different classes are rivals for one
  place where their IoU is 0.5 or more and nobody drew both. At a tie of classes nothing is
  decided: the place is a doubt, and the ground truth is without it.
* Its corners are the medians of the corners that were drawn with that class.
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

_SAME_OBJECT = 0.5


@dataclass(frozen=True, eq=False)
class Version:
    """What one person submitted.

    Attributes:
        annotator: Who.
        boxes: In the classes of the taxonomy.
        submitted_at: When; of several by one person, the latest holds.
        seconds: How long it took, where that is known.
    """

    annotator: str
    boxes: Detections
    submitted_at: datetime
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Resolved:
    """What people agreed on.

    Attributes:
        boxes: The ground truth.
        agreement: Mean F1 of every pair of people, in [0, 1]; 1 with a single one.
        versions: The latest of each person, by name.
        seconds: What all submissions took together, superseded ones included; None where
            nobody's time is known.
        doubts: Places that equally many call by different names; `boxes` is without them.
    """

    boxes: Detections
    agreement: float
    versions: tuple[Version, ...]
    seconds: float | None
    doubts: tuple[Doubt, ...] = ()


@dataclass(eq=False)
class _Object:
    """What is taken for one thing, while people join."""

    class_id: int
    rows: list[FloatArray] = field(default_factory=list)
    people: set[str] = field(default_factory=set)

    @property
    def corners(self) -> FloatArray:
        return np.median(np.array(self.rows, np.float64), axis=0)


def resolve(submissions: Iterable[Version]) -> Resolved:
    """Return the ground truth of one image, and all that it was made from.

    Raises:
        LabelingError: There is no submission, or they are in different classes.
    """
    given = list(submissions)
    if not given:
        raise LabelingError("There is no submission to take ground truth from.")
    classes = given[0].boxes.classes
    if any(one.boxes.classes != classes for one in given):
        raise LabelingError("Submissions of one image must be in the classes of one taxonomy.")
    versions = _latest(given)
    kept, doubts = _settled(_objects(versions), len(versions), classes)
    rows = [tuple(one.corners.tolist()) for one in kept]
    seconds = [one.seconds for one in given if one.seconds is not None]
    return Resolved(
        boxes=ground_truth(rows, [one.class_id for one in kept], classes),
        agreement=agreement([one.boxes for one in versions]),
        versions=versions,
        seconds=math.fsum(seconds) if seconds else None,
        doubts=doubts,
    )


def agreement(versions: Sequence[Detections]) -> float:
    """Return the mean F1 over every pair, in [0, 1]; two empty ones agree, so does one alone."""
    pairs = [_f1(a, b) for a, b in combinations(versions, 2)]
    return math.fsum(pairs) / len(pairs) if pairs else 1.0


def _latest(given: Sequence[Version]) -> tuple[Version, ...]:
    """Return the latest of each person, by name; of two at the same moment, the later given."""
    latest: dict[str, Version] = {}
    for one in given:
        before = latest.get(one.annotator)
        if before is None or one.submitted_at >= before.submitted_at:
            latest[one.annotator] = one
    return tuple(latest[name] for name in sorted(latest))


def _objects(versions: Sequence[Version]) -> list[_Object]:
    objects: list[_Object] = []
    for one in versions:
        known = [(thing.corners, thing.class_id) for thing in objects]
        pairs = dict(
            _pairs(
                one.boxes.boxes_xyxy,
                one.boxes.class_ids.tolist(),
                np.array([corners for corners, _ in known]).reshape(-1, 4),
                [class_id for _, class_id in known],
            )
        )
        for i, class_id in enumerate(one.boxes.class_ids.tolist()):
            if i not in pairs:
                objects.append(_Object(class_id))
            thing = objects[pairs[i]] if i in pairs else objects[-1]
            thing.rows.append(one.boxes.boxes_xyxy[i])
            thing.people.add(one.annotator)
    return objects


def _settled(
    objects: Sequence[_Object], n_people: int, classes: Sequence[str]
) -> tuple[list[_Object], tuple[Doubt, ...]]:
    """Return the objects that are there, and a doubt for each whose class is a stalemate."""
    kept: list[_Object] = []
    doubts: list[Doubt] = []
    for rivals in _places(objects):
        people = set().union(*(one.people for one in rivals))
        if 2 * len(people) < n_people:
            continue
        most = max(len(one.people) for one in rivals)
        winners = [one for one in rivals if len(one.people) == most]
        if len(winners) == 1:
            kept.extend(winners)
        else:
            doubts.append(_stalemate(winners, classes))
    return kept, tuple(doubts)


def _places(objects: Sequence[_Object]) -> list[list[_Object]]:
    """Return the objects by place: rivals, and rivals of rivals, share one."""
    places: list[list[_Object]] = []
    for one in objects:
        shared = [place for place in places if any(_are_rivals(one, other) for other in place)]
        apart = [place for place in places if place not in shared]
        places = [*apart, [one, *(other for place in shared for other in place)]]
    return places


def _stalemate(rivals: Sequence[_Object], classes: Sequence[str]) -> Doubt:
    ordered = sorted(rivals, key=lambda one: one.class_id)
    said = "; ".join(f"{classes[one.class_id]}: {', '.join(sorted(one.people))}" for one in ordered)
    return Doubt(
        what=" or ".join(classes[one.class_id] for one in ordered),
        reason=f"People call one place by different names ({said}). Let one more decide.",
    )


def _are_rivals(a: _Object, b: _Object) -> bool:
    return a.class_id != b.class_id and not a.people & b.people and _overlap(a, b)


def _overlap(a: _Object, b: _Object) -> bool:
    return bool(iou(a.corners[None], b.corners[None])[0, 0] >= _SAME_OBJECT)


def _f1(a: Detections, b: Detections) -> float:
    if not len(a) and not len(b):
        return 1.0
    pairs = _pairs(a.boxes_xyxy, a.class_ids.tolist(), b.boxes_xyxy, b.class_ids.tolist())
    return 2 * len(pairs) / (len(a) + len(b))


def _pairs(
    a_xyxy: FloatArray, a_classes: Sequence[int], b_xyxy: FloatArray, b_classes: Sequence[int]
) -> list[tuple[int, int]]:
    """Return which box of a is which of b; the overlaps of the pairs have the largest sum."""
    if not len(a_xyxy) or not len(b_xyxy):
        return []
    overlaps = iou(a_xyxy, b_xyxy)
    allowed = (overlaps >= _SAME_OBJECT) & np.equal.outer(a_classes, b_classes)
    worth = np.where(allowed, overlaps, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
