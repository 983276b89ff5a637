"""What is fitted on validation: honest probabilities, silence, relevance, quality, threshold.

A member's score says in which order its boxes are likely, not how likely they are. Platt
scaling [0] maps it: p = sigmoid(slope · logit(score) + intercept), one line per member, and
one per class where there is enough to see. Everything here is a handful of numbers in a JSON
file; no weight of any model changes.

- [0] Platt, Probabilistic outputs for support vector machines, 1999
- [1] Yang et al., Plug and Play Active Learning for Object Detection (PPAL), CVPR 2024
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

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
MATCH_IOU = 0.5  # overlap from which a box has found an object
MIN_TRUE = 10  # true boxes of a member below which its scores are taken as they are
MIN_OF_EACH = 5  # images of either answer below which the decision's threshold stays 0.5
MIN_SILENT = 20  # clusters on which a member was silent, below which the default stays
QUALITY_P, QUALITY_IOU = 0.6, 0.4  # exponents [1]
PRIOR = (1.0, 0.01)  # how much the identity weighs in slope and intercept: 1 / variance
_SCORE_EDGE = 1e-6  # scores of exactly 0 or 1 have no logit

Line = tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """What validation taught about the members and the image decision.

    Attributes:
        scaling: By member and class, slope (at least 0) and intercept on logit(score); `*`
            holds for every class without its own. A member that is absent is not scaled.
        silence: By member, the probability of an object that others see and it does not.
        relevance: By class, r_c = P(decision yes | the class is there); absent means 0.
        quality: By class, q_c in [0, 1]: how well its objects are found; absent if unknown.
        threshold: p*(x) from which on the image decision is yes.
    """

    scaling: Mapping[str, Mapping[str, Line]]
    silence: Mapping[str, float]
    relevance: Mapping[str, float]
    quality: Mapping[str, float]
    threshold: float

    def __post_init__(self) -> None:
        """Refuse numbers that cannot come from a fit, and say which."""
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
                raise CheckpointError(f"{field} must lie in [0, 1], got {list(shares)}.")

    def __hash__(self) -> int:
        return hash(self.identity)

    @classmethod
    def uncalibrated(cls, deciding: Sequence[str] = ()) -> Calibration:
        """Return what holds before any fit: scores as they are, every deciding class certain.

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
        """Return the calibration that `to_json` wrote.

        Raises:
            CheckpointError: The text is no calibration.
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
            raise CheckpointError(f"This is no calibration: {error!r}. Fit it again.") from error

    def to_json(self) -> str:
        """Return a readable JSON text, equal for equal calibrations."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @property
    def identity(self) -> str:
        """A hash of the content, 16 hex digits: equal exactly when the calibration is."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def calibrated_members(self) -> tuple[str, ...]:
        """The members whose scores are scaled, sorted."""
        return tuple(sorted(self.scaling))

    def apply(self, member: str, class_names: Sequence[str], scores: FloatArray) -> FloatArray:
        """Return the probability behind each score, shape (N,), in [0, 1].

        Args:
            member: Whose scores; those of one that is not known are returned as they are.
            class_names: The class of each box, N of them.
            scores: Shape (N,), in [0, 1].
        """
        scores = np.clip(np.asarray(scores, np.float64), 0.0, 1.0)
        lines = self.scaling.get(member)
        if lines is None or len(scores) == 0:
            return scores
        line_of = np.array([lines.get(name, lines[ALL_CLASSES]) for name in class_names])
        return expit(line_of[:, 0] * _logit(scores) + line_of[:, 1])

    def calibrate_votes(self, votes: Votes) -> Votes:
        """Return the votes with each member's raw scores turned into probabilities."""
        p = np.clip(np.array(votes.p, np.float64), 0.0, 1.0)
        for m, name in enumerate(votes.members):
            lines = self.scaling.get(name)
            if lines is None:
                continue
            mine = np.flatnonzero(votes.member == m)
            of_class = np.array([lines.get(c, lines[ALL_CLASSES]) for c in votes.classes])
            slope, intercept = of_class[votes.class_id[mine]].T
            p[mine] = expit(slope * _logit(p[mine]) + intercept)
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
    """Fit everything on validation images; M is the number of members, n of images.

    Args:
        members: What each member says about each image, raw, with canonical class names;
            None where it did not run.
        truths: The ground truth of the same images.
        classes: All class names, C of them, in the taxonomy's order.
        deciding: Those that argue for the image decision.
        decision: The true image decision, shape (n,).
        sizes_px: Height and width of each image, shape (n, 2).
        competent: Which classes each member can name, shape (M, C).
        weights: The members' voices, shape (M,), above 0.
        fusion: Thresholds of the consensus.
        min_per_class: True boxes that a class needs for a line of its own.

    Raises:
        BadPredictionsError: The images of `members`, `truths` and `decision` differ in number.
    """
    raw, truth = Votes.collect(members, classes), Votes.collect({"truth": truths}, classes)
    counts = {len(decision), len(truths), *(len(said) for said in members.values())}
    if len(counts) > 1:
        raise BadPredictionsError(
            "members, truths and decision must be of the same images, "
            f"got {sorted(counts)} of them."
        )
    relevance = {name: _relevance(truth, decision, name) for name in deciding}
    scaled = replace(
        Calibration.uncalibrated(), scaling=_scaling(raw, truth, fusion, min_per_class)
    )
    votes = scaled.calibrate_votes(raw)

    fused = partial(
        fuse, votes, competent=competent, weights=weights, sizes_px=sizes_px, fusion=fusion
    )
    by_default = fused(silence=np.full(len(members), fusion.silence))
    silence = _silence(by_default, truth, competent, fusion.silence)
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
        threshold=fixed_threshold(decision, decisions.p),
    )


def fixed_threshold(decision: BoolArray, p: FloatArray) -> float:
    """Return the best threshold of an image decision; 0.5 with too few of either answer to tell."""
    yes = int(decision.sum())
    if min(yes, len(decision) - yes) < MIN_OF_EACH:
        return 0.5
    return best_threshold(decision, p)


def fit_answers(p_yes: FloatArray, decision: BoolArray) -> Line | None:
    """Return the line of a voter that answers the image question; None with too few answers.

    Args:
        p_yes: Its own probability of yes, shape (n,), NaN where it gave none.
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
    """Return the lines of each member that found at least `MIN_TRUE` objects."""
    rows, hit = _outcomes(raw, truth, fusion.nms_iou)
    scaling: dict[str, dict[str, Line]] = {}
    for m, member in enumerate(raw.members):
        mine = raw.member[rows] == m
        if hit[mine].sum() < MIN_TRUE:
            continue
        scaling[member] = {ALL_CLASSES: _line(raw.p[rows][mine], hit[mine])}
        for c, name in enumerate(raw.classes):
            some = mine & (raw.class_id[rows] == c)
            if hit[some].sum() >= min_per_class:
                scaling[member][name] = _line(raw.p[rows][some], hit[some])
    return scaling


def _outcomes(raw: Votes, truth: Votes, nms_iou: float) -> tuple[IntArray, BoolArray]:
    """Return the rows of `raw` that are no doubles, and whether each found an object.

    As in the consensus, doubles of a member and class are left out first. Then its boxes
    choose objects of their class, surest first.
    """
    order = np.lexsort((-raw.p, raw.member, raw.image))
    starts = np.flatnonzero(np.diff(raw.image[order] * len(raw.members) + raw.member[order])) + 1
    rows, hits = [order[:0]], [np.zeros(0, bool)]
    for group in np.split(order, starts) if len(order) else []:
        corners, kind = raw.boxes_xyxy[group], raw.class_id[group]
        doubles = (boxes.iou(corners, corners) > nms_iou) & (kind[:, None] == kind)
        single = boxes.greedy_suppression(doubles)
        objects = _of_image(truth.image, int(raw.image[group[0]]))
        overlaps = boxes.iou(corners[single], truth.boxes_xyxy[objects])
        same = kind[single][:, None] == truth.class_id[objects]
        rows.append(group[single])
        hits.append(boxes.match(np.where(same, overlaps, 0.0), least=MATCH_IOU) >= 0)
    return np.concatenate(rows), np.concatenate(hits)


def _line(scores: FloatArray, hit: BoolArray) -> Line:
    """Return slope and intercept that make the outcomes likeliest, near the identity if few.

    Logistic regression on Platt's smoothed targets [0], with two additions that
    scikit-learn's has not: the penalty pulls the slope to 1 instead of to 0, and the slope is
    at least 0, so that a member whose surer boxes are the worse ones gets one probability.
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
    """Return how often an object that a member can name was where only others saw something."""
    found = np.full(len(clusters), -1, np.int64)  # class of the object at each cluster
    for image in np.unique(clusters.image):
        objects = _of_image(truth.image, int(image))
        here = _of_image(clusters.image, int(image))
        overlaps = boxes.iou(clusters.boxes_xyxy[here], truth.boxes_xyxy[objects])
        chosen = boxes.match(overlaps, least=MATCH_IOU)
        found[here] = np.append(truth.class_id[objects], -1)[chosen]  # the last for none
    silent = np.isnan(clusters.member_boxes[:, :, 0]) & ~np.isnan(clusters.p_members)
    shares = {}
    for m, member in enumerate(clusters.members):
        classes = found[silent[:, m]]
        there = (classes >= 0) & competent[m, classes]
        shares[member] = float(there.mean()) if len(there) >= MIN_SILENT else default
    return shares


def _relevance(truth: Votes, decision: BoolArray, name: str) -> float:
    """Return the share of yes among the images with a class, and one more image that is yes.

    The taxonomy says that the class decides: without any image this is 1, as uncalibrated.
    """
    images = np.unique(truth.image[truth.class_id == truth.classes.index(name)])
    return float((decision[images].sum() + 1) / (len(images) + 1))


def _quality(clusters: Clusters, truth: Votes) -> dict[str, float]:
    """Return, for each class with ground truth, the mean of p^.6 · IoU^.4, a miss being 0 [1]."""
    best = np.zeros(len(truth.p))
    for image in np.unique(truth.image):
        objects = _of_image(truth.image, int(image))
        here = _of_image(clusters.image, int(image))
        overlaps = boxes.iou(truth.boxes_xyxy[objects], clusters.boxes_xyxy[here])
        same = truth.class_id[objects][:, None] == clusters.class_id[here]
        worth = clusters.p_fused[here] ** QUALITY_P * overlaps**QUALITY_IOU
        worth = np.where(same & (overlaps >= MATCH_IOU), worth, 0.0)
        best[objects] = worth.max(axis=1, initial=0.0)
    return {
        name: float(best[truth.class_id == c].mean())
        for c, name in enumerate(truth.classes)
        if (truth.class_id == c).any()
    }


def _of_image(images: IntArray, image: int) -> slice:
    """Return where `image` lies in an ascending array of image indices."""
    return slice(*np.searchsorted(images, [image, image + 1]).tolist())


def _logit(scores: FloatArray) -> Any:
    return logit(np.clip(scores, _SCORE_EDGE, 1 - _SCORE_EDGE))
