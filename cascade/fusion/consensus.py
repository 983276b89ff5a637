"""What the ensemble says, from what its members say: clusters, fused probabilities, agreement.

V is the number of boxes that vote, K of clusters, M of members, C of classes. Boxes are
relative corners `x1, y1, x2, y2`. Two fused quantities are never confused:

    p_mean   = Σ w_m p_mk / Σ w_m                   arithmetic; only for hardness
    p_fused  = sigmoid(Σ w_m logit(p_mk) / Σ w_m)   geometric, in odds space; the confidence

Both run over the members that vote on the cluster. A member abstains, shown as NaN, where it
did not run or can name none of the cluster's classes: its silence is no "no".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from cascade.arrays import BoolArray, FloatArray, IntArray
from cascade.fusion import clustering
from cascade.fusion.votes import Votes
from cascade.manifest import Fusion

__all__ = ["Clusters", "Decisions", "Votes", "decide", "fuse", "opinion_pool"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """The objects that the ensemble sees, ascending by image, then descending by `p_fused`.

    Attributes:
        image: Index of the image, shape (K,).
        boxes_xyxy: Mean of the members' boxes weighted by w·p, relative corners, shape (K, 4).
        class_id: The class with most w·p among the class votes, shape (K,).
        p_members: p_mk in [ε, 1-ε], shape (K, M): a member's own probability, its `silence`
            where it could have spoken and did not, NaN where it abstains.
        p_mean: Arithmetic mean over the voting members, shape (K,).
        p_fused: Geometric mean in odds space over the voting members, shape (K,).
        votes: How many members put a box there, shape (K,).
        agreement: Weighted share of the voting members that put a box there, shape (K,).
        class_votes: Summed w·p by class, shape (K, C).
        member_boxes: The box of each member, shape (K, M, 4), NaN where it put none.
        n_images: The number of images, those without clusters included.
        members: The members' names.
        classes: The class names of the taxonomy.
        weights: The members' voices, shape (M,).
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
    """The image decision, and what each member makes of it.

    Attributes:
        p_members: P_m(x), shape (n, M), NaN where the member abstains: it did not run, or
            can name no class that decides.
        p: The fused p*(x), shape (n,), NaN where nobody votes.
        agreement: Weighted share of the voting members whose P_m(x) lies on the same side of
            the threshold as p*(x), shape (n,); 1 with one voter, NaN with none.
        n_voters: How many members vote, shape (n,).
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
    """Turn boxes into clusters, one for each object that at least one member sees.

    Boxes under `fusion.min_p`, and doubles of one member and class, are left out. The others,
    surest first (the earlier member, then the earlier box, of equals), seed a cluster unless
    an earlier seed overlaps them enough; then each joins the seed that it overlaps most. A
    member has one presence vote in a cluster, its surest box there; its further boxes are
    class votes and seed nothing.

    Args:
        votes: Calibrated votes.
        competent: Which classes each member can name, shape (M, C).
        weights: The members' voices, shape (M,), above 0.
        silence: Probability of an object where the member could have spoken and did not, (M,).
        sizes_px: Height and width of each image, shape (n, 2). The side of a box, which
            decides how much overlap its cluster asks for, is the root of its area in pixels.
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
    place = (cluster_of[first], member[first])
    p_members = np.full((n_clusters, len(votes.members)), np.nan)
    p_members[place] = p[first]
    member_boxes = np.full((*p_members.shape, 4), np.nan)
    member_boxes[place] = votes.boxes_xyxy[rows][first]

    spoke = ~np.isnan(p_members)
    could = votes.ran[image] & ((class_votes > 0) @ competent.T)
    quiet = np.clip(silence, fusion.epsilon, 1 - fusion.epsilon)
    p_members = np.where(~spoke & could, quiet, p_members)
    voice = np.where(spoke | could, weights, 0.0)
    p_fused = expit(_mean(logit(p_members), voice))
    order = np.lexsort((-p_fused, image))
    return Clusters(
        image=image[order],
        boxes_xyxy=_mean(member_boxes, np.where(spoke, weights * p_members, 0.0))[order],
        class_id=class_votes.argmax(axis=1)[order],
        p_members=p_members[order],
        p_mean=_mean(p_members, voice)[order],
        p_fused=p_fused[order],
        votes=spoke.sum(axis=1)[order],
        agreement=_mean(spoke.astype(np.float64), voice)[order],
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
    """Decide each image by the clusters that were found in it.

        P_m(x) = 1 - Π_k (1 - r_c p_mk)
        p*(x)  = sigmoid(Σ w_m logit(P_m(x)) / Σ w_m),  P_m clipped to [ε, 1-ε]

    A member that could see road-work and votes on no cluster has P_m(x) = 0.

    Args:
        clusters: Of `fuse`.
        ran: Whether each member ran on each image, shape (n, M).
        competent: Which classes each member can name, shape (M, C).
        relevance: r_c = P(yes | class c is there), shape (C,), 0 where c does not decide.
        threshold: p from which on the decision is yes.
        epsilon: What probabilities are kept away from 0 and 1.
    """
    no = 1 - relevance[clusters.class_id][:, None] * np.nan_to_num(clusters.p_members)
    none = np.ones(ran.shape)
    np.multiply.at(none, clusters.image, no)
    votes = ran & (competent & (relevance > 0)).any(axis=1)
    p_members = np.where(votes, 1 - none, np.nan)
    return opinion_pool(p_members, clusters.weights, threshold=threshold, epsilon=epsilon)


def opinion_pool(
    p_members: FloatArray, weights: FloatArray, *, threshold: float, epsilon: float
) -> Decisions:
    """Return what voters with these probabilities decide together: a logarithmic opinion pool.

    Args:
        p_members: Probability of yes by image and voter, shape (n, M), NaN where one abstains.
        weights: The voters' voices, shape (M,), above 0.
        threshold: p from which on the decision is yes.
        epsilon: What probabilities are kept away from 0 and 1.
    """
    votes = ~np.isnan(p_members)
    voice = np.where(votes, weights, 0.0)
    clipped = np.clip(p_members, epsilon, 1 - epsilon)
    p = expit(_mean(logit(clipped), voice))
    same_side = (clipped >= threshold) == (p >= threshold)[:, None]
    return Decisions(
        p_members=p_members,
        p=p,
        agreement=_mean(same_side.astype(np.float64), voice),
        n_voters=votes.sum(axis=1),
    )


def _mean(values: FloatArray, voice: FloatArray) -> FloatArray:
    """Return the mean of (N, M) or (N, M, D) over M, NaN where nobody has a voice."""
    total = voice.sum(axis=1)
    heard = np.where((voice > 0).reshape(voice.shape + (1,) * (values.ndim - 2)), values, 0.0)
    summed = np.einsum("nm,nm...->n...", voice, heard)
    total = np.where(total > 0, total, np.nan).reshape(total.shape + (1,) * (values.ndim - 2))
    return summed / total
