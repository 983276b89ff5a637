"""Hardness of images: the disagreement of the members, in [0, 1]; higher is harder.

The functions take and return arrays. K is the number of clusters, M of members, C of classes, n
of images, S of sources. NaN means undefined: an undefined component drops out of the mix, and
the others take its weight.

The mix of components (`MIX`) is our default and not from a paper; all components are stored for
ablations.

- [0] Houlsby et al., Bayesian Active Learning for Classification, 2011 (mutual information)
- [1] Haussmann et al., Scalable Active Learning for Object Detection, 2020 (for ensembles)
- [2] Dagan & Engelson, Committee-Based Sampling, 1995 (vote entropy)
- [3] Yang et al., Plug and Play Active Learning for Object Detection, CVPR 2024 (difficulty)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from scipy.stats import rankdata

from cascade.arrays import BoolArray, FloatArray, Int64Array
from cascade.fusion.consensus import Clusters

MIX = {"existence": 0.5, "class_": 0.2, "location": 0.2, "margin": 0.1}
DETECTION_SHARE = 0.6  # of the hardness of an image; the remainder is `image`, if defined
CONTRADICTION = 0.9  # lowest hardness of an image with contradicting tiers
_ALPHA, _BETA = 0.3, 0.2  # parameters of the class difficulty [3]
_CERTAIN_NO, _CERTAIN_YES = 0.1, 0.9  # limits of the detectors for a contradiction


@dataclass(frozen=True, eq=False)
class ClusterHardness:
    """Components of the hardness of K clusters; every array has shape (K,).

    Attributes:
        existence: Mutual information of presence and member [0, 1]; NaN with fewer than two
            voters.
        class_: Vote entropy over the classes [2]; NaN with fewer than two boxes.
        location: 1 - mean IoU over pairs of members' boxes; NaN with fewer than two boxes.
        margin: 1 - |2p - 1| of the fused presence; always defined.
        weight: Difficulty of the class [3], in [1/1.2, 1].
        total: weight x the mix of the defined components.
        n_voters: Members that ran and can name the class, including those without a box.
    """

    existence: FloatArray
    class_: FloatArray
    location: FloatArray
    margin: FloatArray
    weight: FloatArray
    total: FloatArray
    n_voters: Int64Array


@dataclass(frozen=True, eq=False)
class ImageHardness:
    """Hardness of n images, with its components; every array has shape (n,).

    Attributes:
        hardness: Hardness relative to the pool, in [0, 1]; NaN outside of the pool.
        detection: Raw value: `total` of the hardest cluster; 0 without clusters.
        image: Raw value: mutual information of image decision and source; NaN with fewer than
            two sources.
        existence, class_, location, margin: Components of the hardest cluster; NaN if undefined.
        hardest: Row of the hardest cluster; -1 without clusters.
        n_voters: Voters on the hardest cluster; 0 without clusters.
        contradiction: Whether the tiers contradict each other.
    """

    hardness: FloatArray
    detection: FloatArray
    image: FloatArray
    existence: FloatArray
    class_: FloatArray
    location: FloatArray
    margin: FloatArray
    hardest: Int64Array
    n_voters: Int64Array
    contradiction: BoolArray


def components(clusters: Clusters, quality: Mapping[str, float]) -> ClusterHardness:
    """Return the hardness components of each cluster.

    Args:
        clusters: Fused boxes of all members.
        quality: Quality of the ensemble on each class, in [0, 1]: the mean of p^.6 IoU^.4 over
            validation ground truth; 0 for a missing class.
    """
    parts = {
        "existence": disagreement(clusters.p_members, clusters.weights),
        "class_": _class(clusters),
        "location": _location(clusters.member_boxes),
        "margin": 1.0 - np.abs(2.0 * clusters.p_mean - 1.0),
    }
    weight = difficulty(clusters.classes, quality)[clusters.class_id]
    return ClusterHardness(
        **parts,
        weight=weight,
        total=weight * mix(parts),
        n_voters=np.isfinite(clusters.p_members).sum(axis=1),
    )


def image_hardness(
    parts: ClusterHardness,
    clusters: Clusters,
    *,
    in_pool: BoolArray,
    sources: FloatArray | None = None,
    contradiction: BoolArray | None = None,
) -> ImageHardness:
    """Return the hardness of each image: that of its hardest cluster, ranked over the pool.

    A sum or a mean over clusters would prefer crowded images.

    Args:
        parts: Hardness of the clusters.
        clusters: Clusters of all n images.
        in_pool: Which images may be chosen, shape (n,). Only these are ranked; images on which
            no member ran must not be in the pool.
        sources: Image probabilities by source (fused detectors, embedding probe, language
            model), shape (n, S), NaN without an answer.
        contradiction: Whether the tiers contradict each other, shape (n,).
    """
    n = clusters.n_images
    hardest = _hardest(clusters.image, parts.total, n)
    detection = _at(parts.total, hardest, fill=0.0)
    image = np.full(n, np.nan) if sources is None else disagreement(sources)
    flags = np.zeros(n, bool) if contradiction is None else contradiction
    return ImageHardness(
        hardness=over_pool(detection, image, flags, in_pool),
        detection=detection,
        image=image,
        existence=_at(parts.existence, hardest),
        class_=_at(parts.class_, hardest),
        location=_at(parts.location, hardest),
        margin=_at(parts.margin, hardest),
        hardest=hardest,
        n_voters=_at(parts.n_voters, hardest, fill=0.0).astype(np.int64),
        contradiction=flags,
    )


def over_pool(
    detection: FloatArray, image: FloatArray, contradiction: BoolArray, in_pool: BoolArray
) -> FloatArray:
    """Return the hardness of n images from their raw values, shape (n,), NaN outside the pool.

    It is .6 rank(detection) + .4 rank(image), or rank(detection) alone if `image` is NaN, and at
    least .9 with a contradiction. See `ImageHardness` for the arguments.
    """
    by_detection, by_image = ranks(detection, in_pool), ranks(image, in_pool)
    mean = DETECTION_SHARE * by_detection + (1.0 - DETECTION_SHARE) * by_image
    value = np.where(np.isfinite(by_image), mean, by_detection)
    return np.where(contradiction & in_pool, np.fmax(value, CONTRADICTION), value)


def disagreement(p: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the mutual information of a yes/no answer and its voter, in bits, in [0, 1].

    Args:
        p: Probability of yes by row and voter, shape (n, S); NaN without a vote.
        weights: Weights of the voters, shape (S,); equal by default.

    Returns:
        H(weighted mean of p) - weighted mean of H(p) [0], shape (n,). 0 if all agree, 1 if
        two halves are certain of opposite answers, NaN with fewer than two voters.
    """
    voting = np.isfinite(p)
    weight = voting * (np.ones(p.shape[1]) if weights is None else weights)
    total = weight.sum(axis=1)
    votes = np.where(voting, p, 0.0)
    with np.errstate(invalid="ignore"):
        mean = (weight * votes).sum(axis=1) / total
        mean_entropy = (weight * binary_entropy(votes)).sum(axis=1) / total
    value = np.clip(binary_entropy(mean) - mean_entropy, 0.0, 1.0)
    return np.where(voting.sum(axis=1) >= 2, value, np.nan)


def contradictions(p_detection: FloatArray, p_language: FloatArray) -> BoolArray:
    """Return where a language model contradicts detectors that are certain.

    Args:
        p_detection: Image probability of the fused detectors, shape (n,).
        p_language: Probability of yes of the language model, shape (n,); NaN without an answer.
    """
    claims = (p_language > 0.5) & (p_detection < _CERTAIN_NO)
    denies = (p_language < 0.5) & (p_detection > _CERTAIN_YES)
    return claims | denies


def difficulty(classes: tuple[str, ...], quality: Mapping[str, float]) -> FloatArray:
    """Return the difficulty of each class [3], in [1/1.2, 1]; 1 for an unknown quality.

    It is w = (1 + b a ln(1 + (e^(1/a) - 1)(1 - q))) / (1 + b), with a = .3 and b = .2.
    """
    lack = 1.0 - np.clip([quality.get(name, 0.0) for name in classes], 0.0, 1.0)
    return (1.0 + _BETA * _ALPHA * np.log1p(np.expm1(1.0 / _ALPHA) * lack)) / (1.0 + _BETA)


def mix(parts: Mapping[str, FloatArray], weights: Mapping[str, float] = MIX) -> FloatArray:
    """Return the weighted mean of the defined components, NaN without any."""
    values = np.stack([parts[name] for name in weights])
    weight = np.isfinite(values) * np.array([[w] for w in weights.values()])
    with np.errstate(invalid="ignore"):
        return (weight * np.nan_to_num(values)).sum(axis=0) / weight.sum(axis=0)


def ranks(values: FloatArray, mask: BoolArray) -> FloatArray:
    """Return ranks in [0, 1] among the finite values of a mask, NaN for others.

    The lowest value has rank 0, the highest 1. Equal values have the mean of their ranks, and a
    single value has 0.5.
    """
    ranked = mask & np.isfinite(values)
    result = np.full(len(values), np.nan)
    n = int(ranked.sum())
    if n:
        result[ranked] = (rankdata(values[ranked]) - 1.0) / (n - 1) if n > 1 else 0.5
    return result


def binary_entropy(p: FloatArray) -> FloatArray:
    """Return the entropy of a yes/no answer in bits: 0 for p = 0 or 1, 1 for p = 0.5."""
    clipped = np.clip(p, 0.0, 1.0)
    return (entr(clipped) + entr(1.0 - clipped)) / np.log(2.0)


def class_shares(clusters: Clusters) -> FloatArray:
    """Return each class's share of a cluster's votes, shape (K, C); zeros without votes."""
    total = clusters.class_votes.sum(axis=1, keepdims=True)
    return clusters.class_votes / np.where(total > 0, total, 1.0)


def _class(clusters: Clusters) -> FloatArray:
    """Return the vote entropy, relative to its maximum for the number of votes and classes."""
    share, votes = class_shares(clusters), clusters.votes
    most = np.minimum(np.maximum(votes, (share > 0).sum(axis=1)), len(clusters.classes))
    defined = (votes >= 2) & (most >= 2)
    value = entr(share).sum(axis=1) / np.log(np.where(defined, most, 2))
    return np.where(defined, np.clip(value, 0.0, 1.0), np.nan)


def _location(boxes: FloatArray) -> FloatArray:
    """Return 1 - mean IoU over the pairs of boxes, shape (K,), of boxes (K, M, 4)."""
    k, m = boxes.shape[:2]
    present = np.isfinite(boxes[..., 0])
    total, pairs = np.zeros(k), np.zeros(k)
    for i in range(m):  # M(M-1)/2 passes over all clusters: there are few members and many clusters
        for j in range(i + 1, m):
            rows = np.flatnonzero(present[:, i] & present[:, j])
            total[rows] += _iou(boxes[rows, i], boxes[rows, j])
            pairs[rows] += 1
    return np.where(pairs > 0, 1.0 - total / np.maximum(pairs, 1), np.nan)


def _iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the IoU of rows of relative corners; 0 for two empty boxes."""
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.maximum(size, 0.0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1.0), 0.0)


def _hardest(image: NDArray[np.integer[Any]], total: FloatArray, n: int) -> Int64Array:
    """Return the row of each image's hardest cluster, the first of ties; -1 without clusters."""
    hardest = np.full(n, -1, np.int64)
    order = np.lexsort((-np.nan_to_num(total, nan=-1.0), image))  # stable
    images, first = np.unique(image[order], return_index=True)
    hardest[images] = order[first]
    return hardest


def _at(values: NDArray[Any], rows: Int64Array, *, fill: float = np.nan) -> FloatArray:
    """Return `values[rows]`, with `fill` for row -1."""
    result = np.full(len(rows), fill)
    result[rows >= 0] = values[rows[rows >= 0]]
    return result
