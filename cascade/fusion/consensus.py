"""Consensus of the members: clusters, fused probabilities and agreement.

V is the number of boxes that vote, K of clusters, M of members, C of classes. Boxes are
relative corners `x1, y1, x2, y2`. Two fused quantities are kept apart:

    p_mean   = Σ w_m p_mk / Σ w_m                   arithmetic; for hardness only
    p_fused  = sigmoid(Σ w_m logit(p_mk) / Σ w_m)   geometric, in odds space; the confidence

Both sums run over the members that vote on the cluster. A member abstains (NaN) if it did not
run or can name none of the cluster's classes: then its silence is not evidence against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.fusion import clustering
from cascade.fusion.votes import Votes
from cascade.manifest import Fusion


@dataclass(frozen=True, eq=False)
class Clusters:
    """The objects of the consensus, ascending by image, then descending by `p_fused`.

    Attributes:
        image: Index of the image, shape (K,).
        boxes_xyxy: Mean of the members' boxes weighted by w·p, relative corners, shape (K, 4).
        class_id: The class with the largest w·p among the class votes, shape (K,).
        p_members: p_mk in [ε, 1-ε], shape (K, M): probability by member, its `silence` if it
            could have reported the object and did not, NaN if it abstains.
        p_mean: Arithmetic mean over the voting members, shape (K,).
        p_fused: Geometric mean in odds space over the voting members, shape (K,).
        votes: Number of members with a box in the cluster, shape (K,).
        agreement: Weighted share of the voting members with a box in the cluster, shape (K,).
        class_votes: Summed w·p by class, shape (K, C).
        member_boxes: The box of each member, shape (K, M, 4), NaN without a box.
        n_images: The number of images, those without clusters included.
        members: The members' names.
        classes: The class names of the taxonomy.
        weights: Weight of each member, shape (M,).
    """

    image: IntArray
    boxes_xyxy: FloatArray
    class_id: IntArray
    p_members: FloatArray
    p_mean: FloatArray
    p_fused: FloatArray
    votes: IntArray
    agreement: FloatArray
    class_votes: FloatArray
    member_boxes: FloatArray
    n_images: int
    members: tuple[str, ...]
    classes: tuple[str, ...]
    weights: FloatArray

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, eq=False)
class Decisions:
    """The image decisions, fused and by member.

    Attributes:
        p_members: P_m(x), shape (n, M), NaN if the member abstains because it did not run or
            can name no deciding class.
        p: The fused p*(x), shape (n,), NaN without voters.
        agreement: Weighted share of the voting members whose P_m(x) is on the same side of
            the threshold as p*(x), shape (n,); 1 with one voter, NaN without voters.
        n_voters: Number of voting members, shape (n,).
    """

    p_members: FloatArray
    p: FloatArray
    agreement: FloatArray
    n_voters: IntArray


def fuse(
    votes: Votes,
    *,
    competent: BoolArray,
    weights: FloatArray,
    silence: FloatArray,
    sizes_px: IntArray,
    fusion: Fusion,
) -> Clusters:
    """Cluster the boxes, one cluster for each object that at least one member reports.

    Boxes below `fusion.min_p` and duplicates of one member and class are dropped. In descending
    order of probability (then by member and row), each remaining box becomes a seed unless it
    overlaps an earlier seed enough. Then every box joins the seed that it overlaps most. A
    member has one presence vote per cluster, its most probable box; its other boxes are class
    votes only.

    Args:
        votes: Calibrated votes.
        competent: Whether each member can name each class, shape (M, C).
        weights: Weight of each member, shape (M,), above 0.
        silence: Probability of an object that the member could have reported and did not, (M,).
        sizes_px: Height and width of each image, shape (n, 2). The side of a box, which
            determines the IoU threshold of its cluster, is the root of its area in pixels.
        fusion: Thresholds.
    """
    rows, cluster_of = clustering.cluster(votes, sizes_px, fusion)
    n_clusters = int(cluster_of.max(initial=-1)) + 1
    p = np.clip(votes.p[rows].astype(np.float64), fusion.epsilon, 1 - fusion.epsilon)
    member, class_id = votes.member[rows], votes.class_id[rows]
    image = np.zeros(n_clusters, np.int64)
    image[cluster_of] = votes.image[rows]

    class_votes = np.zeros((n_clusters, len(votes.classes)))
    np.add.at(class_votes, (cluster_of, class_id), weights[member] * p)

    _, first = np.unique(cluster_of * len(votes.members) + member, return_index=True)
    cells = (cluster_of[first], member[first])
    p_members = np.full((n_clusters, len(votes.members)), np.nan)
    p_members[cells] = p[first]
    member_boxes = np.full((*p_members.shape, 4), np.nan)
    member_boxes[cells] = votes.boxes_xyxy[rows][first]

    has_box = ~np.isnan(p_members)
    is_competent = votes.ran[image] & ((class_votes > 0) @ competent.T)
    p_silent = np.clip(silence, fusion.epsilon, 1 - fusion.epsilon)
    p_members = np.where(~has_box & is_competent, p_silent, p_members)
    voting = np.where(has_box | is_competent, weights, 0.0)
    p_fused = expit(_mean(logit(p_members), voting))
    order = np.lexsort((-p_fused, image))
    return Clusters(
        image=image[order],
        boxes_xyxy=_mean(member_boxes, np.where(has_box, weights * p_members, 0.0))[order],
        class_id=class_votes.argmax(axis=1)[order],
        p_members=p_members[order],
        p_mean=_mean(p_members, voting)[order],
        p_fused=p_fused[order],
        votes=has_box.sum(axis=1)[order],
        agreement=_mean(has_box.astype(np.float64), voting)[order],
        class_votes=class_votes[order],
        member_boxes=member_boxes[order],
        n_images=votes.n_images,
        members=votes.members,
        classes=votes.classes,
        weights=weights,
    )


def decide(
    clusters: Clusters,
    ran: BoolArray,
    *,
    competent: BoolArray,
    relevance: FloatArray,
    threshold: float,
    epsilon: float,
) -> Decisions:
    """Decide each image from its clusters.

        P_m(x) = 1 - Π_k (1 - r_c p_mk)
        p*(x)  = sigmoid(Σ w_m logit(P_m(x)) / Σ w_m),  P_m clipped to [ε, 1-ε]

    A competent member without a vote on any cluster has P_m(x) = 0.

    Args:
        clusters: Result of `fuse`.
        ran: Whether each member ran on each image, shape (n, M).
        competent: Whether each member can name each class, shape (M, C).
        relevance: r_c = P(yes | class c present), shape (C,), 0 for a class that does not decide.
        threshold: Minimum p of a positive decision.
        epsilon: Probabilities are clipped to [epsilon, 1 - epsilon].
    """
    p_no = 1 - relevance[clusters.class_id][:, None] * np.nan_to_num(clusters.p_members)
    p_all_no = np.ones(ran.shape)
    np.multiply.at(p_all_no, clusters.image, p_no)
    votes = ran & (competent & (relevance > 0)).any(axis=1)
    p_members = np.where(votes, 1 - p_all_no, np.nan)
    return opinion_pool(p_members, clusters.weights, threshold=threshold, epsilon=epsilon)


def opinion_pool(
    p_members: FloatArray, weights: FloatArray, *, threshold: float, epsilon: float
) -> Decisions:
    """Combine the probabilities of voters by a logarithmic opinion pool.

    Args:
        p_members: Probability of yes by image and voter, shape (n, M), NaN for an abstention.
        weights: Weight of each voter, shape (M,), above 0.
        threshold: Minimum p of a positive decision.
        epsilon: Probabilities are clipped to [epsilon, 1 - epsilon].
    """
    votes = ~np.isnan(p_members)
    voting = np.where(votes, weights, 0.0)
    clipped = np.clip(p_members, epsilon, 1 - epsilon)
    p = expit(_mean(logit(clipped), voting))
    same_side = (clipped >= threshold) == (p >= threshold)[:, None]
    return Decisions(
        p_members=p_members,
        p=p,
        agreement=_mean(same_side.astype(np.float64), voting),
        n_voters=votes.sum(axis=1),
    )


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted mean of (N, M) or (N, M, D) over M, NaN if all weights are 0."""
    total = weights.sum(axis=1)
    has_weight = (weights > 0).reshape(weights.shape + (1,) * (values.ndim - 2))
    summed = np.einsum("nm,nm...->n...", weights, np.where(has_weight, values, 0.0))
    total = np.where(total > 0, total, np.nan).reshape(total.shape + (1,) * (values.ndim - 2))
    return summed / total
