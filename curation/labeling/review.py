"""Boxes of the ground truth that look wrong, or are not there, as tasks for a person to review.

The consensus is sure of an object where its probability is at least 0.9 and at least two members
saw it. Against each such object, and against what each single member saw, the ground truth is

* missing      no box overlaps the object
* wrong class  a box is there, of another class
* shifted      a box of the class is there, and lies beside the object: IoU in [0.3, 0.7)
* spurious     a box that no member sees anything at, although several can name its class, and
               seldom overlook boxes of its class and size

Of a box that no member sees, the chance to be wrong is about ε / (ε + q): q is how often members
overlook boxes of that class and size, counted over all the ground truth, and ε the share of
labels that are wrong in data as it is, 3.4 % on average over ten test sets [0]. So members that
are blind to a class flag none of it.

Nothing here says that a label is wrong: it says where two who should agree do not.

- [0] Northcutt, Athalye and Mueller, Pervasive Label Errors in Test Sets Destabilize Machine
  Learning Benchmarks, NeurIPS 2021
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cascade.geometry import boxes
from cascade.predictions import Detections

Kind = Literal["missing", "wrong class", "shifted", "spurious"]

LEAST_P = 0.9
LEAST_VOTES = 2
SAME_OBJECT = 0.3  # IoU from which two boxes may mean one object
WELL_PLACED = 0.7  # IoU from which they lie alike
LEAST_SILENCE = 0.2  # what a silence must be worth: below, members overlook too much

_WRONG = 0.034  # ε
_SIDES = (0.04, 0.1)  # of the image: small boxes, middling ones, large ones
_FAIR_SIDE = 0.05
_ENOUGH = 20  # boxes of a class and size, to count how many are overlooked


@dataclass(frozen=True, eq=False)
class Opinion:
    """What is known of one image.

    N is the number of fused boxes.

    Attributes:
        truth: The ground truth.
        consensus: The fused boxes; scores are probabilities.
        votes: Members that saw each, shape (N,).
        members: What each member saw that looked at the image, calibrated, from 0.05 on.
        able: Of each of them, the classes that it can name.
    """

    truth: Detections
    consensus: Detections
    votes: NDArray[np.integer[Any]]
    members: Sequence[Detections]
    able: Sequence[frozenset[str]]


@dataclass(frozen=True)
class Item:
    """One box to review.

    Attributes:
        image: Its image's place among those that were given.
        kind: What seems to be wrong.
        label: What the box should be called: the consensus' class; of a spurious one, its own.
        box_xyxy: Where to look, relative corners: the object, or the spurious box.
        score: How sure we are that it is wrong, in [0, 1]; to be reviewed from the highest on.
        reason: The same in a sentence.
    """

    image: int
    kind: Kind
    label: str
    box_xyxy: tuple[float, float, float, float]
    score: float
    reason: str


def review(opinions: Sequence[Opinion]) -> list[Item]:
    """Return all boxes that look wrong, the surest first."""
    silent = [_silent(one) for one in opinions]
    overlooked = _Overlooked(opinions, silent)
    found = [
        item for i, one in enumerate(opinions) for item in _of_image(i, one, silent[i], overlooked)
    ]
    return sorted(found, key=lambda item: (-item.score, item.image, item.box_xyxy))


def _of_image(
    image: int, one: Opinion, silent: NDArray[np.integer[Any]], overlooked: _Overlooked
) -> list[Item]:
    sure = (one.consensus.scores >= LEAST_P) & (one.votes >= LEAST_VOTES)
    objects, votes = one.consensus[sure], one.votes[sure]
    overlaps = boxes.iou(objects.boxes_xyxy, one.truth.boxes_xyxy)
    matched = _match(objects, one.truth, overlaps)
    items = []
    for k in range(len(objects)):
        found = _of_object(image, k, int(matched[k]), objects, int(votes[k]), one.truth, overlaps)
        if found:
            items.append(found)
    return [*items, *_spurious(image, one, silent, overlooked, set(matched.tolist()))]


def _match(objects: Detections, truth: Detections, overlaps: NDArray[Any]) -> NDArray[Any]:
    """Return the ground truth of each object, -1 for none: first of its class, then of any."""
    names = np.array(truth.labels, object)[None, :] == np.array(objects.labels, object)[:, None]
    order = np.argsort(-objects.scores, kind="stable")
    matched = np.full(len(objects), -1, np.int64)
    matched[order] = boxes.match(np.where(names, overlaps, 0.0)[order], least=SAME_OBJECT)
    taken = np.isin(np.arange(len(truth)), matched)
    rest = order[matched[order] < 0]
    left = np.where(taken[None, :], 0.0, overlaps)
    matched[rest] = boxes.match(left[rest], least=SAME_OBJECT)
    return matched


def _of_object(
    image: int,
    k: int,
    t: int,
    objects: Detections,
    votes: int,
    truth: Detections,
    overlaps: NDArray[Any],
) -> Item | None:
    label, p = objects.labels[k], float(objects.scores[k])
    box = _corners(objects, k)
    seen = f"{votes} members see a {label} with probability {p:.2f}"
    if t < 0:
        best = float(overlaps[k].max(initial=0.0))
        if best >= SAME_OBJECT:
            return None  # its box is another object's: two of ours for one of theirs
        reason = f"{seen}, and no box is there."
        return Item(image, "missing", label, box, p * (1.0 - best), reason)
    overlap = float(overlaps[k, t])
    if truth.labels[t] != label:
        reason = f"{seen}, and the box there says {truth.labels[t]} (IoU {overlap:.2f})."
        return Item(image, "wrong class", label, box, p * overlap, reason)
    if overlap < WELL_PLACED:
        reason = f"{seen}, and its box lies beside it (IoU {overlap:.2f})."
        span = WELL_PLACED - SAME_OBJECT
        return Item(image, "shifted", label, box, p * (WELL_PLACED - overlap) / span, reason)
    return None


def _silent(one: Opinion) -> NDArray[np.integer[Any]]:
    """Return how many members that can name it see nothing at each box, 0 where any sees it."""
    able = np.array([[label in able for able in one.able] for label in one.truth.labels], bool)
    silent = able.reshape(len(one.truth), len(one.able)).sum(axis=1)
    for seen in one.members:
        overlaps = boxes.iou(one.truth.boxes_xyxy, seen.boxes_xyxy)
        silent[(overlaps >= SAME_OBJECT).any(axis=1)] = 0
    return silent


class _Overlooked:
    """How often members overlook boxes of a class and size, counted over all ground truth."""

    def __init__(
        self, opinions: Sequence[Opinion], silent: Sequence[NDArray[np.integer[Any]]]
    ) -> None:
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._misses: Counter[tuple[str, int | None]] = Counter()
        for one, missed in zip(opinions, silent, strict=True):
            sizes = _sizes(one.truth)
            for t, label in enumerate(one.truth.labels):
                for key in ((label, int(sizes[t])), (label, None)):
                    self._counts[key] += 1
                    self._misses[key] += bool(missed[t])

    def share(self, label: str, size: int) -> float:
        """Return q, in (0, 1): of the size where it has boxes enough, else of the class."""
        key = (label, size) if self._counts[label, size] >= _ENOUGH else (label, None)
        return (self._misses[key] + 1) / (self._counts[key] + 2)


def _sizes(truth: Detections) -> NDArray[np.integer[Any]]:
    """Return 0, 1 or 2 for each box: small, middling, large."""
    return np.digitize(np.sqrt(boxes.areas(truth.boxes_xyxy)), _SIDES)


def _spurious(
    image: int,
    one: Opinion,
    silent: NDArray[np.integer[Any]],
    overlooked: _Overlooked,
    matched: set[int],
) -> list[Item]:
    """Return the boxes at which no member sees anything, where that means something."""
    items = []
    sizes = _sizes(one.truth)
    for t in np.flatnonzero(silent >= LEAST_VOTES).tolist():
        label = one.truth.labels[t]
        q = overlooked.share(label, int(sizes[t]))
        worth = _WRONG / (_WRONG + q)
        if t in matched or worth < LEAST_SILENCE:
            continue
        reason = (
            f"None of {silent[t]} members that know {label} sees anything here; they overlook "
            f"{q:.0%} of such boxes."
        )
        box = _corners(one.truth, t)
        side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        score = worth * side / (side + _FAIR_SIDE)  # also within a size, small ones are overlooked
        items.append(Item(image, "spurious", label, box, score, reason))
    return items


def _corners(found: Detections, i: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = found.boxes_xyxy[i].astype(float).tolist()
    return x1, y1, x2, y2
