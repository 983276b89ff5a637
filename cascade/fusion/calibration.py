"""Calibration on validation images: probabilities, silence, relevance, quality, threshold.

A member's scores rank its boxes but are not probabilities. Platt scaling [0] converts them:
p = sigmoid(slope · logit(score) + intercept), with one line per member, and one per class
with enough data. A calibration is a few numbers in a JSON file; model weights do not change.

- [0] Platt, Probabilistic outputs for support vector machines, 1999
- [1] Yang et al., Plug and Play Active Learning for Object Detection (PPAL), CVPR 2024
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.errors import BadPredictionsError, CheckpointError
from cascade.fusion.consensus import Clusters, decide, fuse
from cascade.fusion.votes import Votes
from cascade.geometry import boxes
from cascade.manifest import Fusion
from cascade.metrics.classification import best_threshold
from cascade.predictions import Detections

ALL_CLASSES = "*"
MATCH_IOU = 0.5  # minimum IoU of a detected object
MIN_TRUE = 10  # true boxes; a member with fewer is not scaled
MIN_OF_EACH = 5  # images of either answer; with fewer the decision threshold stays 0.5
MIN_SILENT = 20  # clusters without a member's box; with fewer the default silence stays
QUALITY_P, QUALITY_IOU = 0.6, 0.4  # exponents [1]
PRIOR = (1.0, 0.01)  # 1 / variance of slope and intercept around the identity
_SCORE_EDGE = 1e-6  # scores of exactly 0 or 1 have no logit

Line = tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """Parameters of the members and the image decision, fitted on validation images.

    Attributes:
        scaling: Slope (non-negative) and intercept on logit(score), by member and class; `*`
            applies to every class without a line. An absent member is not scaled.
        silence: By member, the probability of an object that only other members report.
        relevance: By class, r_c = P(decision yes | class present); 0 if absent.
        quality: By class, q_c in [0, 1]: detection quality of its objects; absent if unknown.
        threshold: Minimum p*(x) of a positive image decision.
    """

    scaling: Mapping[str, Mapping[str, Line]]
    silence: Mapping[str, float]
    relevance: Mapping[str, float]
    quality: Mapping[str, float]
    threshold: float

    def __post_init__(self) -> None:
        """Validate the ranges of all numbers."""
        for member, lines in self.scaling.items():
            if ALL_CLASSES not in lines:
                raise CheckpointError(f"scaling of {member!r} must have a line for '*'.")
            for name, (slope, intercept) in lines.items():
                if not (0 <= slope < np.inf and np.isfinite(intercept)):
                    raise CheckpointError(
                        f"scaling of {member!r} for {name!r} must be a slope of at least 0 and "
                        f"an intercept, both finite, got {slope} and {intercept}."
                    )
        for field, shares in (
            ("silence", self.silence.values()),
            ("relevance", self.relevance.values()),
            ("quality", self.quality.values()),
            ("threshold", [self.threshold]),
        ):
            if not all(0 <= share <= 1 for share in shares):
                raise CheckpointError(f"{field} must be in [0, 1], got {list(shares)}.")

    def __hash__(self) -> int:
        return hash(self.identity)

    @classmethod
    def uncalibrated(cls, deciding: Sequence[str] = ()) -> Calibration:
        """Return the calibration before any fit: unscaled scores, fully relevant classes.

        Args:
            deciding: The classes whose presence makes the decision yes.
        """
        return cls(
            scaling={},
            silence={},
            relevance=dict.fromkeys(deciding, 1.0),
            quality={},
            threshold=0.5,
        )

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Return the calibration in a text written by `to_json`.

        Raises:
            CheckpointError: The text is not a valid calibration.
        """
        try:
            content = json.loads(text)
            content["scaling"] = {
                member: {name: (float(line[0]), float(line[1])) for name, line in lines.items()}
                for member, lines in content["scaling"].items()
            }
            return cls(**content)
        except CheckpointError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise CheckpointError(f"Invalid calibration: {error!r}. Fit it again.") from error

    def to_json(self) -> str:
        """Return a readable JSON text with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @property
    def identity(self) -> str:
        """Hash of the content, 16 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def calibrated_members(self) -> tuple[str, ...]:
        """The members whose scores are scaled, sorted."""
        return tuple(sorted(self.scaling))

    def calibrate_scores(
        self, member: str, class_names: Sequence[str], scores: FloatArray
    ) -> FloatArray:
        """Return the probabilities of a member's scores, shape (N,), in [0, 1].

        Args:
            member: Name of the member; scores of a member without scaling are unchanged.
            class_names: The class of each box, N of them.
            scores: Raw scores, shape (N,), in [0, 1].
        """
        scores = np.clip(np.asarray(scores, np.float64), 0.0, 1.0)
        lines = self.scaling.get(member)
        if lines is None or len(scores) == 0:
            return scores
        line_of = np.array([lines.get(name, lines[ALL_CLASSES]) for name in class_names])
        return expit(line_of[:, 0] * _logit(scores) + line_of[:, 1])

    def calibrate_votes(self, votes: Votes) -> Votes:
        """Return the votes with raw scores converted to probabilities."""
        p = np.clip(np.array(votes.p, np.float64), 0.0, 1.0)
        for m, name in enumerate(votes.members):
            lines = self.scaling.get(name)
            if lines is None:
                continue
            rows = np.flatnonzero(votes.member == m)
            line_of = np.array([lines.get(c, lines[ALL_CLASSES]) for c in votes.classes])
            slope, intercept = line_of[votes.class_id[rows]].T
            p[rows] = expit(slope * _logit(p[rows]) + intercept)
        return replace(votes, p=p)


def fit(
    members: Mapping[str, Sequence[Detections | None]],
    truths: Sequence[Detections],
    classes: Sequence[str],
    deciding: Sequence[str],
    *,
    decision: BoolArray,
    sizes_px: IntArray,
    competent: BoolArray,
    weights: FloatArray,
    fusion: Fusion,
    min_per_class: int = 100,
) -> Calibration:
    """Fit a calibration; M is the number of members, n of images.

    Args:
        members: Raw predictions of each member for each image, with canonical class names;
            None if the member did not run.
        truths: Ground truth of the same images.
        classes: All class names, C of them, in the taxonomy's order.
        deciding: The classes that are evidence for the image decision.
        decision: The true image decisions, shape (n,).
        sizes_px: Height and width of each image, shape (n, 2).
        competent: Whether each member can name each class, shape (M, C).
        weights: Weight of each member, shape (M,), above 0.
        fusion: Thresholds of the consensus.
        min_per_class: True boxes that a class needs for a separate line.

    Raises:
        BadPredictionsError: The images of `members`, `truths` and `decision` differ in number.
    """
    raw, truth = Votes.collect(members, classes), Votes.collect({"truth": truths}, classes)
    counts = {len(decision), len(truths), *map(len, members.values())}
    if len(counts) > 1:
        raise BadPredictionsError(
            "members, truths and decision must have the same number of images, "
            f"got {sorted(counts)}."
        )
    relevance = {name: _relevance(truth, decision, name) for name in deciding}
    scaled = replace(
        Calibration.uncalibrated(), scaling=_scaling(raw, truth, fusion, min_per_class)
    )
    votes = scaled.calibrate_votes(raw)

    fused = partial(
        fuse, votes, competent=competent, weights=weights, sizes_px=sizes_px, fusion=fusion
    )
    preliminary = fused(silence=np.full(len(members), fusion.silence))
    silence = _silence(preliminary, truth, competent, fusion.silence)
    clusters = fused(silence=np.array([silence[name] for name in votes.members]))
    decisions = decide(
        clusters,
        votes.ran,
        competent=competent,
        relevance=np.array([relevance.get(name, 0.0) for name in classes]),
        threshold=0.5,
        epsilon=fusion.epsilon,
    )
    return replace(
        scaled,
        silence=silence,
        relevance=relevance,
        quality=_quality(clusters, truth),
        threshold=fit_threshold(decision, decisions.p),
    )


def fit_threshold(decision: BoolArray, p: FloatArray) -> float:
    """Return the best threshold for an image decision; 0.5 if either answer has too few images."""
    yes = int(decision.sum())
    if min(yes, len(decision) - yes) < MIN_OF_EACH:
        return 0.5
    return best_threshold(decision, p)


def fit_answers(p_yes: FloatArray, decision: BoolArray) -> Line | None:
    """Return a voter's line on the image decision; None if there are too few answers.

    Args:
        p_yes: Raw probability of yes, shape (n,), NaN without an answer.
        decision: The true image decisions, shape (n,).
    """
    answered = np.isfinite(p_yes)
    yes = int(decision[answered].sum())
    if min(yes, int(answered.sum()) - yes) < MIN_TRUE:
        return None
    return _line(p_yes[answered], decision[answered])


def _scaling(
    raw: Votes, truth: Votes, fusion: Fusion, min_per_class: int
) -> dict[str, dict[str, Line]]:
    """Return the lines of each member with at least `MIN_TRUE` detected objects."""
    rows, hit = _outcomes(raw, truth, fusion.nms_iou)
    scaling: dict[str, dict[str, Line]] = {}
    for m, member in enumerate(raw.members):
        of_member = raw.member[rows] == m
        if hit[of_member].sum() < MIN_TRUE:
            continue
        scaling[member] = {ALL_CLASSES: _line(raw.p[rows][of_member], hit[of_member])}
        for c, name in enumerate(raw.classes):
            of_class = of_member & (raw.class_id[rows] == c)
            if hit[of_class].sum() >= min_per_class:
                scaling[member][name] = _line(raw.p[rows][of_class], hit[of_class])
    return scaling


def _outcomes(raw: Votes, truth: Votes, nms_iou: float) -> tuple[IntArray, BoolArray]:
    """Return the rows of `raw` without duplicates, and whether each matches an object.

    Duplicates of a member and class are suppressed first, as in the consensus. Then the boxes
    are matched to objects of their class in descending order of score.
    """
    order = np.lexsort((-raw.p, raw.member, raw.image))
    starts = np.flatnonzero(np.diff(raw.image[order] * len(raw.members) + raw.member[order])) + 1
    rows, hits = [order[:0]], [np.zeros(0, bool)]
    for group in np.split(order, starts) if len(order) else []:
        corners, kind = raw.boxes_xyxy[group], raw.class_id[group]
        duplicates = (boxes.iou(corners, corners) > nms_iou) & (kind[:, None] == kind)
        unique = boxes.greedy_suppression(duplicates)
        objects = _rows_of(truth.image, int(raw.image[group[0]]))
        overlaps = boxes.iou(corners[unique], truth.boxes_xyxy[objects])
        same = kind[unique][:, None] == truth.class_id[objects]
        rows.append(group[unique])
        hits.append(boxes.match(np.where(same, overlaps, 0.0), least=MATCH_IOU) >= 0)
    return np.concatenate(rows), np.concatenate(hits)


def _line(scores: FloatArray, hit: BoolArray) -> Line:
    """Return the maximum a posteriori slope and intercept, with the identity as prior.

    Logistic regression on Platt's smoothed targets [0]. Unlike scikit-learn's, the penalty
    pulls the slope to 1 instead of 0, and the slope is non-negative: a member whose
    higher-scored boxes are the worse ones gets a constant probability.
    """
    x, n_true, n_false = _logit(scores), hit.sum(), (~hit).sum()
    y = np.where(hit, (n_true + 1) / (n_true + 2), 1 / (n_false + 2))
    identity, prior = np.array([1.0, 0.0]), np.array(PRIOR)

    def loss(line: FloatArray) -> tuple[float, FloatArray]:
        z, off = line[0] * x + line[1], line - identity
        error = expit(z) - y
        value = float(np.logaddexp(0, z).sum() - y @ z + (prior * off) @ off / 2)
        return value, np.array([error @ x, error.sum()]) + prior * off

    bounds = [(0, None), (None, None)]
    fitted = minimize(loss, x0=identity, jac=True, method="L-BFGS-B", bounds=bounds)
    return float(fitted.x[0]), float(fitted.x[1])


def _silence(
    clusters: Clusters, truth: Votes, competent: BoolArray, default: float
) -> dict[str, float]:
    """Return by member how often an object is present where only other members report one."""
    class_of = np.full(len(clusters), -1, np.int64)  # class of the object at each cluster
    for image in np.unique(clusters.image):
        objects = _rows_of(truth.image, int(image))
        rows = _rows_of(clusters.image, int(image))
        overlaps = boxes.iou(clusters.boxes_xyxy[rows], truth.boxes_xyxy[objects])
        matched = boxes.match(overlaps, least=MATCH_IOU)
        class_of[rows] = np.append(truth.class_id[objects], -1)[matched]  # -1 if unmatched
    silent = np.isnan(clusters.member_boxes[:, :, 0]) & ~np.isnan(clusters.p_members)
    shares = {}
    for m, member in enumerate(clusters.members):
        classes = class_of[silent[:, m]]
        missed = (classes >= 0) & competent[m, classes]
        shares[member] = float(missed.mean()) if len(missed) >= MIN_SILENT else default
    return shares


def _relevance(truth: Votes, decision: BoolArray, name: str) -> float:
    """Return the share of yes among the images with a class, plus one imaginary yes image.

    Without any image the result is 1, as in an uncalibrated ensemble.
    """
    images = np.unique(truth.image[truth.class_id == truth.classes.index(name)])
    return float((decision[images].sum() + 1) / (len(images) + 1))


def _quality(clusters: Clusters, truth: Votes) -> dict[str, float]:
    """Return the mean of p^.6 · IoU^.4 over the objects of each class, 0 for a miss [1]."""
    best = np.zeros(len(truth.p))
    for image in np.unique(truth.image):
        objects = _rows_of(truth.image, int(image))
        rows = _rows_of(clusters.image, int(image))
        overlaps = boxes.iou(truth.boxes_xyxy[objects], clusters.boxes_xyxy[rows])
        same = truth.class_id[objects][:, None] == clusters.class_id[rows]
        quality = clusters.p_fused[rows] ** QUALITY_P * overlaps**QUALITY_IOU
        quality = np.where(same & (overlaps >= MATCH_IOU), quality, 0.0)
        best[objects] = quality.max(axis=1, initial=0.0)
    return {
        name: float(best[truth.class_id == c].mean())
        for c, name in enumerate(truth.classes)
        if (truth.class_id == c).any()
    }


def _rows_of(images: IntArray, image: int) -> slice:
    """Return the rows of `image` in an ascending array of image indices."""
    return slice(*np.searchsorted(images, [image, image + 1]).tolist())


def _logit(scores: FloatArray) -> FloatArray:
    return logit(np.clip(scores, _SCORE_EDGE, 1 - _SCORE_EDGE))
