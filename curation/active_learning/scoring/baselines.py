"""Baseline rankings to compare hardness with.

Each function returns one value per image, in [0, 1]; images with higher values are chosen first,
images without clusters have 0. The possible answers of a cluster are its voted classes and "no
object": q = (p* x share of the class votes, 1 - p*). With a single class, least confidence,
margin and entropy therefore rank equally.

- [0] Settles, Active Learning Literature Survey, 2009
- [1] Brust et al., Active Learning for Deep Object Detection, 2019 (margin, pooled by max)
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from cascade.arrays import FloatArray
from cascade.fusion.consensus import Clusters
from curation.active_learning.scoring.hardness import class_shares


def least_confidence(clusters: Clusters) -> FloatArray:
    """Return 1 - the probability of the most likely answer, of the least certain cluster [0]."""
    return _greatest(clusters, 1.0 - _answers(clusters).max(axis=1))


def margin(clusters: Clusters) -> FloatArray:
    """Return 1 - the margin between the two most likely answers, of the smallest margin [1]."""
    ordered = np.sort(_answers(clusters), axis=1)
    return _greatest(clusters, 1.0 - (ordered[:, -1] - ordered[:, -2]))


def max_entropy(clusters: Clusters) -> FloatArray:
    """Return the largest entropy of a cluster, relative to C + 1 equal answers [0]."""
    return _greatest(clusters, _entropy(clusters))


def mean_entropy(clusters: Clusters) -> FloatArray:
    """Return the mean entropy of the clusters, relative to C + 1 equal answers [0]."""
    total = np.bincount(clusters.image, weights=_entropy(clusters), minlength=clusters.n_images)
    number = np.bincount(clusters.image, minlength=clusters.n_images)
    return total / np.maximum(number, 1)


def random(n_images: int, seed: int) -> FloatArray:
    """Return a uniform random value per image."""
    return np.random.default_rng(seed).random(n_images)


def _answers(clusters: Clusters) -> FloatArray:
    """Return the distribution over the classes and "no object", shape (K, C + 1)."""
    voted = clusters.class_votes.sum(axis=1, keepdims=True) > 0
    p = np.where(voted, clusters.p_fused[:, None], 0.0)
    return np.hstack([p * class_shares(clusters), 1.0 - p])


def _entropy(clusters: Clusters) -> FloatArray:
    answers = _answers(clusters)
    value = entr(np.clip(answers, 0.0, 1.0)).sum(axis=1) / np.log(answers.shape[1])
    return np.clip(value, 0.0, 1.0)


def _greatest(clusters: Clusters, values: FloatArray) -> FloatArray:
    greatest = np.zeros(clusters.n_images)
    np.maximum.at(greatest, clusters.image, values)
    return greatest
