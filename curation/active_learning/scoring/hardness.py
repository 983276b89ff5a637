"""How hard an image is: how little the members agree on what it shows.

Every value lies in [0, 1]; higher is harder. The functions take arrays and return arrays.
K is the number of clusters, M of members, C of classes, n of images, S of sources.
NaN stands for "not defined here", never for zero: a component that is not defined drops
out of the mix, and the others take its weight.

The mix of components (`MIX`) is our default and supported by no paper; every part is kept,
so that it can be ablated.

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
DETECTION_SHARE = 0.6  # of an image's hardness; the rest is `image`, where it is defined
CONTRADICTION = 0.9  # the least hardness of an image whose tiers contradict each other
_ALPHA, _BETA = 0.3, 0.2  # of the class difficulty [3]
_SURE_NO, _SURE_YES = 0.1, 0.9  # the detectors' side of a contradiction


@dataclass(frozen=True, eq=False)
class ClusterHardness:
    """What makes each of K clusters hard; every array has shape (K,).

    Attributes:
        existence: Mutual information of "is anything there" and the member [0, 1]; NaN with
            fewer than two voters.
        class_: Vote entropy over the classes [2]; NaN with fewer than two boxes.
        location: 1 - mean IoU over pairs of members' boxes; NaN with fewer than two boxes.
        margin: 1 - |2p - 1| of the fused presence; always defined.
        weight: The difficulty of the cluster's class [3], in [1/1.2, 1].
        total: weight x the mix of the components that are defined.
        n_voters: Members that could have named it and ran, silent ones included.
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
    """How hard each of n images is, and why; every array has shape (n,).

    Attributes:
        hardness: Over the pool, in [0, 1]; NaN outside of it.
        detection: Raw: `total` of the hardest cluster; 0 without clusters.
        image: Raw: mutual information between the image probabilities of several sources;
            NaN where fewer than two exist.
        existence, class_, location, margin: Of the hardest cluster; NaN where undefined.
        hardest: The row of the hardest cluster; -1 without clusters.
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
    """Return what makes each cluster hard.

    Args:
        clusters: The fused boxes of all members.
        quality: How well the ensemble does on a class, in [0, 1]: the mean over validation
            ground truth of p^.6 IoU^.4. A class that is absent counts as hardest (0).
    """
    parts = {
        "existence": _existence(clusters),
        "class_": _class(clusters),
        "location": _location(clusters.member_boxes),
        "margin": _margin(clusters.p_mean),
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

    A sum or a mean over clusters would pick crowded images, so neither is taken.

    Args:
        parts: The hardness of the clusters.
        clusters: The clusters of all n images.
        in_pool: Shape (n,): which images are unlabeled and may be chosen. Ranks are taken over
            these alone; leave out an image on which no member ran.
        sources: Image probabilities by source (detectors fused, embedding probe, language
            model), shape (n, S), NaN where a source did not answer.
        contradiction: Shape (n,): where the tiers contradict each other.
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

    It is .6 rank(detection) + .4 rank(image), or rank(detection) alone where `image` is NaN; at
    least .9 on a contradiction. The arguments are as in `ImageHardness`.
    """
    by_detection, by_image = ranks(detection, in_pool), ranks(image, in_pool)
    both = DETECTION_SHARE * by_detection + (1.0 - DETECTION_SHARE) * by_image
    value = np.where(np.isfinite(by_image), both, by_detection)
    return np.where(contradiction & in_pool, np.fmax(value, CONTRADICTION), value)


def disagreement(p: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the mutual information of a yes/no answer and who gives it, in bits, in [0, 1].

    Args:
        p: Probability of yes by row and voter, shape (n, S); NaN where one does not vote.
        weights: The voters' weights, shape (S,); equal ones where None.

    Returns:
        Shape (n,): H(weighted mean of p) - weighted mean of H(p) [0]. 0 when all agree, 1
        when two halves are sure of opposite answers, NaN with fewer than two voters.
    """
    voting = np.isfinite(p)
    weight = voting * (np.ones(p.shape[1]) if weights is None else weights)
    total = weight.sum(axis=1)
    known = np.where(voting, p, 0.0)
    with np.errstate(invalid="ignore"):
        mean = (weight * known).sum(axis=1) / total
        own = (weight * binary_entropy(known)).sum(axis=1) / total
    value = np.clip(binary_entropy(mean) - own, 0.0, 1.0)
    return np.where(voting.sum(axis=1) >= 2, value, np.nan)


def contradictions(p_detection: FloatArray, p_language: FloatArray) -> BoolArray:
    """Return where a language model says the opposite of detectors that are sure.

    Args:
        p_detection: Image probability of the detectors fused, shape (n,).
        p_language: The language model's probability of yes, shape (n,); NaN where not asked.
    """
    claims = (p_language > 0.5) & (p_detection < _SURE_NO)
    denies = (p_language < 0.5) & (p_detection > _SURE_YES)
    return claims | denies


def difficulty(classes: tuple[str, ...], quality: Mapping[str, float]) -> FloatArray:
    """Return the difficulty of each class [3], in [1/1.2, 1]; 1 where quality is unknown.

    It is w = (1 + b a ln(1 + (e^(1/a) - 1)(1 - q))) / (1 + b), with a = .3 and b = .2.
    """
    lack = 1.0 - np.clip([quality.get(name, 0.0) for name in classes], 0.0, 1.0)
    return (1.0 + _BETA * _ALPHA * np.log1p(np.expm1(1.0 / _ALPHA) * lack)) / (1.0 + _BETA)


def mix(parts: Mapping[str, FloatArray], weights: Mapping[str, float] = MIX) -> FloatArray:
    """Return the weighted mean of the components that are defined, NaN where none is."""
    values = np.stack([parts[name] for name in weights])
    weight = np.isfinite(values) * np.array([[w] for w in weights.values()])
    with np.errstate(invalid="ignore"):
        return (weight * np.nan_to_num(values)).sum(axis=0) / weight.sum(axis=0)


def ranks(values: FloatArray, where: BoolArray) -> FloatArray:
    """Return ranks in [0, 1] among the finite values at `where`, ties averaged; else NaN.

    The least value has rank 0 and the greatest 1, when no other equals them. Equal values all
    have the mean of their ranks, so a single value has 0.5.
    """
    chosen = where & np.isfinite(values)
    found = np.full(len(values), np.nan)
    n = int(chosen.sum())
    if n:
        found[chosen] = (rankdata(values[chosen]) - 1.0) / (n - 1) if n > 1 else 0.5
    return found


def binary_entropy(p: FloatArray) -> FloatArray:
    """Return the entropy of a yes/no answer in bits: 0 for p = 0 or 1, 1 for p = 0.5."""
    sure = np.clip(p, 0.0, 1.0)
    return (entr(sure) + entr(1.0 - sure)) / np.log(2.0)


def _existence(clusters: Clusters) -> FloatArray:
    return disagreement(clusters.p_members, clusters.weights)


def _class(clusters: Clusters) -> FloatArray:
    """Return the vote entropy over the most classes that so many votes could have named."""
    share, votes = _class_shares(clusters), clusters.votes
    most = np.minimum(np.maximum(votes, (share > 0).sum(axis=1)), len(clusters.classes))
    defined = (votes >= 2) & (most >= 2)
    value = entr(share).sum(axis=1) / np.log(np.where(defined, most, 2))
    return np.where(defined, np.clip(value, 0.0, 1.0), np.nan)


def _class_shares(clusters: Clusters) -> FloatArray:
    """Return each class's share of a cluster's votes, shape (K, C); zeros without votes."""
    total = clusters.class_votes.sum(axis=1, keepdims=True)
    return clusters.class_votes / np.where(total > 0, total, 1.0)


def _location(boxes: FloatArray) -> FloatArray:
    """Return 1 - mean IoU over the pairs of boxes, shape (K,), of boxes (K, M, 4)."""
    k, m = boxes.shape[:2]
    present = np.isfinite(boxes[..., 0])
    total, pairs = np.zeros(k), np.zeros(k)
    for i in range(m):  # M(M-1)/2 passes over all clusters: members are few, clusters many
        for j in range(i + 1, m):
            both = np.flatnonzero(present[:, i] & present[:, j])
            total[both] += _iou(boxes[both, i], boxes[both, j])
            pairs[both] += 1
    return np.where(pairs > 0, 1.0 - total / np.maximum(pairs, 1), np.nan)


def _iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the overlap of rows of relative corners; 0 where both have no area."""
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.maximum(size, 0.0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1.0), 0.0)


def _margin(p: FloatArray) -> FloatArray:
    return 1.0 - np.abs(2.0 * p - 1.0)


def _hardest(image: NDArray[np.integer[Any]], total: FloatArray, n: int) -> Int64Array:
    """Return the row of each image's hardest cluster, the first of equals; -1 without any."""
    hardest = np.full(n, -1, np.int64)
    order = np.lexsort((-np.nan_to_num(total, nan=-1.0), image))  # stable
    images, first = np.unique(image[order], return_index=True)
    hardest[images] = order[first]
    return hardest


def _at(values: NDArray[Any], rows: Int64Array, *, fill: float = np.nan) -> FloatArray:
    """Return `values[rows]`, and `fill` where the row is -1."""
    found = np.full(len(rows), fill)
    found[rows >= 0] = values[rows[rows >= 0]]
    return found
