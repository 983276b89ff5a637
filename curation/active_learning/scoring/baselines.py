"""The simple rankings that hardness has to beat, or be reported beside.

Each returns one value an image, in [0, 1], higher is chosen sooner; an image without clusters
has 0. Within a cluster the possible answers are its voted classes and "nothing there":
q = (p* x share of the class votes, 1 - p*). With a single class, least confidence, margin and
entropy therefore rank alike.

- [0] Settles, Active Learning Literature Survey, 2009
- [1] Brust et al., Active Learning for Deep Object Detection, 2019 (margin, pooled by max)
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from cascade.arrays import FloatArray
from cascade.fusion.consensus import Clusters


def least_confidence(clusters: Clusters) -> FloatArray:
    """Return 1 - the likeliest answer's probability, of the least sure cluster [0]."""
    return _greatest(clusters, 1.0 - _answers(clusters).max(axis=1))


def margin(clusters: Clusters) -> FloatArray:
    """Return 1 - the lead of the likeliest answer over the next, of the closest call [1]."""
    ordered = np.sort(_answers(clusters), axis=1)
    return _greatest(clusters, 1.0 - (ordered[:, -1] - ordered[:, -2]))


def max_entropy(clusters: Clusters) -> FloatArray:
    """Return the greatest entropy of a cluster, over that of C + 1 equal answers [0]."""
    return _greatest(clusters, _entropy(clusters))


def mean_entropy(clusters: Clusters) -> FloatArray:
    """Return the mean entropy of the clusters, over that of C + 1 equal answers [0]."""
    total = np.bincount(clusters.image, weights=_entropy(clusters), minlength=clusters.n_images)
    number = np.bincount(clusters.image, minlength=clusters.n_images)
    return total / np.maximum(number, 1)


def random(n_images: int, seed: int) -> FloatArray:
    """Return a uniform draw an image."""
    return np.random.default_rng(seed).random(n_images)


def _answers(clusters: Clusters) -> FloatArray:
    """Return the distribution over the classes and "nothing there", shape (K, C + 1)."""
    total = clusters.class_votes.sum(axis=1, keepdims=True)
    share = clusters.class_votes / np.where(total > 0, total, 1.0)
    p = np.where(total > 0, clusters.p_fused[:, None], 0.0)
    return np.hstack([p * share, 1.0 - p])


def _entropy(clusters: Clusters) -> FloatArray:
    answers = _answers(clusters)
    value = entr(np.clip(answers, 0.0, 1.0)).sum(axis=1) / np.log(answers.shape[1])
    return np.clip(value, 0.0, 1.0)


def _greatest(clusters: Clusters, values: FloatArray) -> FloatArray:
    found = np.zeros(clusters.n_images)
    np.maximum.at(found, clusters.image, values)
    return found
