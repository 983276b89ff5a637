"""Review items: ground-truth boxes that look wrong or are missing.

The consensus is sure of an object if its probability is at least 0.9 and at least two members saw
it. Compared with these objects, and with what each member saw, a box of the ground truth is

* missing      no box overlaps the object
* wrong class  a box overlaps it, with another class
* shifted      a box of its class overlaps it with an IoU in [0.3, 0.7)
* spurious     no member sees anything at the box, although several can name its class and rarely
               overlook boxes of that class and size

A box that no member sees is wrong with a probability of about ε / (ε + q): q is the share of
boxes of that class and size that members overlook, counted over all ground truth, and ε the share
of wrong labels in existing data, 3.4 % on average over ten test sets [0]. Members that are blind
to a class therefore flag none of its boxes.

An item does not prove that a label is wrong: it marks where ensemble and ground truth disagree.

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

from cascade.arrays import FloatArray, IntArray
from cascade.geometry import boxes
from cascade.predictions import Detections

Kind = Literal["missing", "wrong class", "shifted", "spurious"]

MIN_PROBABILITY = 0.9
MIN_VOTES = 2
SAME_OBJECT_IOU = 0.3
WELL_PLACED_IOU = 0.7
MIN_SILENCE_WEIGHT = 0.2  # below, members overlook too many boxes for their silence to count

_LABEL_ERROR_RATE = 0.034  # ε
_SIZE_LIMITS = (0.04, 0.1)  # side, relative to the image: small, medium and large boxes
_HALF_SCORE_SIDE = 0.05  # side at which the score of a spurious box is halved
_MIN_COUNT = 20  # boxes of a class and size, to estimate the share that is overlooked


@dataclass(frozen=True, eq=False)
class ImageEvidence:
    """Ground truth and predictions of one image.

    N is the number of fused boxes.

    Attributes:
        truth: The ground truth.
        consensus: The fused boxes; scores are probabilities.
        votes: Number of members that saw each fused box, shape (N,).
        members: Calibrated boxes, from 0.05 on, of each member that ran on the image.
        vocabularies: Class names of each of these members.
    """

    truth: Detections
    consensus: Detections
    votes: IntArray
    members: Sequence[Detections]
    vocabularies: Sequence[frozenset[str]]


@dataclass(frozen=True)
class ReviewItem:
    """One box to review.

    Attributes:
        image: Index of the image in the input.
        kind: Kind of the suspected error.
        label: Class of the consensus; for a spurious box, its current class.
        box_xyxy: Relative corners of the object, or of the spurious box.
        score: Confidence in [0, 1] that the ground truth is wrong; review the highest first.
        reason: Explanation in a sentence.
    """

    image: int
    kind: Kind
    label: str
    box_xyxy: tuple[float, float, float, float]
    score: float
    reason: str


def find_items(images: Sequence[ImageEvidence]) -> list[ReviewItem]:
    """Return all boxes that look wrong, most confident first."""
    silent = [_silent_members(evidence) for evidence in images]
    miss_rates = _MissRates(images, silent)
    items = [
        item
        for i, evidence in enumerate(images)
        for item in _items_of_image(i, evidence, silent[i], miss_rates)
    ]
    return sorted(items, key=lambda item: (-item.score, item.image, item.box_xyxy))


def _items_of_image(
    image: int, evidence: ImageEvidence, silent: IntArray, miss_rates: _MissRates
) -> list[ReviewItem]:
    sure = (evidence.consensus.scores >= MIN_PROBABILITY) & (evidence.votes >= MIN_VOTES)
    objects, votes = evidence.consensus[sure], evidence.votes[sure]
    truth = evidence.truth
    overlaps = boxes.iou(objects.boxes_xyxy, truth.boxes_xyxy)
    matches = _match(objects, truth, overlaps)
    items = []
    for k, t in enumerate(matches.tolist()):
        label, p = objects.labels[k], float(objects.scores[k])
        overlap = float(overlaps[k, t] if t >= 0 else overlaps[k].max(initial=0.0))
        error = _find_error(label, p, truth.labels[t] if t >= 0 else None, overlap)
        if error:
            kind, score, problem = error
            reason = f"{votes[k]} members see a {label} with probability {p:.2f}, but {problem}."
            items.append(ReviewItem(image, kind, label, _corners(objects, k), score, reason))
    return [*items, *_spurious(image, truth, silent, miss_rates, set(matches.tolist()))]


def _match(objects: Detections, truth: Detections, overlaps: FloatArray) -> IntArray:
    """Return the ground-truth box of each object, -1 for none: same class first, then any."""
    same_class = (
        np.array(truth.labels, object)[None, :] == np.array(objects.labels, object)[:, None]
    )
    order = np.argsort(-objects.scores, kind="stable")
    matches = np.full(len(objects), -1, np.int64)
    matches[order] = boxes.match(np.where(same_class, overlaps, 0.0)[order], least=SAME_OBJECT_IOU)
    used = np.isin(np.arange(len(truth)), matches)
    unmatched = order[matches[order] < 0]
    free = np.where(used[None, :], 0.0, overlaps)
    matches[unmatched] = boxes.match(free[unmatched], least=SAME_OBJECT_IOU)
    return matches


def _find_error(
    label: str, p: float, present: str | None, overlap: float
) -> tuple[Kind, float, str] | None:
    """Return kind, score and description of the error at an object, or None.

    Args:
        label: Class of the object.
        p: Probability of the object.
        present: Label of its ground-truth box; None if there is none.
        overlap: IoU with that box, or the largest with any box.
    """
    if present is None:
        if overlap >= SAME_OBJECT_IOU:
            return None  # the box belongs to another object: two fused boxes for one label
        return "missing", p * (1.0 - overlap), "the ground truth has no box there"
    if present != label:
        return "wrong class", p * overlap, f"the box there is labeled {present} (IoU {overlap:.2f})"
    if overlap < WELL_PLACED_IOU:
        score = p * (WELL_PLACED_IOU - overlap) / (WELL_PLACED_IOU - SAME_OBJECT_IOU)
        return "shifted", score, f"its box is shifted (IoU {overlap:.2f})"
    return None


def _silent_members(evidence: ImageEvidence) -> IntArray:
    """Return the number of silent members per box; 0 if any member sees it.

    A member is silent if it can name the class of the box and sees nothing there.
    """
    truth, vocabularies = evidence.truth, evidence.vocabularies
    nameable = np.array(
        [[label in words for words in vocabularies] for label in truth.labels], bool
    )
    silent = nameable.reshape(len(truth), len(vocabularies)).sum(axis=1)
    for member in evidence.members:
        overlaps = boxes.iou(truth.boxes_xyxy, member.boxes_xyxy)
        silent[(overlaps >= SAME_OBJECT_IOU).any(axis=1)] = 0
    return silent


class _MissRates:
    """Shares of boxes that members overlook by class and size, over all ground truth."""

    def __init__(self, images: Sequence[ImageEvidence], silent: Sequence[IntArray]) -> None:
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._misses: Counter[tuple[str, int | None]] = Counter()
        for evidence, missed in zip(images, silent, strict=True):
            sizes = _sizes(evidence.truth)
            for t, label in enumerate(evidence.truth.labels):
                for key in ((label, int(sizes[t])), (label, None)):
                    self._counts[key] += 1
                    self._misses[key] += bool(missed[t])

    def share(self, label: str, size: int) -> float:
        """Return q in (0, 1), of the class and size if it has enough boxes, else of the class."""
        key = (label, size) if self._counts[label, size] >= _MIN_COUNT else (label, None)
        return (self._misses[key] + 1) / (self._counts[key] + 2)


def _sizes(truth: Detections) -> NDArray[np.integer[Any]]:
    """Return 0, 1 or 2 for each box: small, medium, large."""
    return np.digitize(np.sqrt(boxes.areas(truth.boxes_xyxy)), _SIZE_LIMITS)


def _spurious(
    image: int, truth: Detections, silent: IntArray, miss_rates: _MissRates, matched: set[int]
) -> list[ReviewItem]:
    """Return the boxes at which no member sees anything, if that is significant."""
    items = []
    sizes = _sizes(truth)
    for t in np.flatnonzero(silent >= MIN_VOTES).tolist():
        label = truth.labels[t]
        q = miss_rates.share(label, int(sizes[t]))
        weight = _LABEL_ERROR_RATE / (_LABEL_ERROR_RATE + q)
        if t in matched or weight < MIN_SILENCE_WEIGHT:
            continue
        reason = (
            f"None of {silent[t]} members that know {label} sees anything here; they overlook "
            f"{q:.0%} of such boxes."
        )
        box = _corners(truth, t)
        side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        score = weight * side / (side + _HALF_SCORE_SIDE)  # small boxes are overlooked more often
        items.append(ReviewItem(image, "spurious", label, box, score, reason))
    return items


def _corners(detections: Detections, i: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = detections.boxes_xyxy[i].astype(float).tolist()
    return x1, y1, x2, y2
