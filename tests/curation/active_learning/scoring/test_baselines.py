"""Baselines on clusters with known values."""

from math import log

import numpy as np
import pytest

from cascade.fusion.consensus import Clusters
from curation.active_learning.scoring import baselines


def clusters(p_fused, class_votes, image, n):
    k, c = np.shape(class_votes)
    no_boxes = np.full((k, 1, 4), np.nan)
    return Clusters(
        image=np.asarray(image, int),
        boxes_xyxy=np.zeros((k, 4)),
        class_id=np.argmax(class_votes, axis=1) if k else np.empty(0, int),
        p_members=np.asarray(p_fused, float).reshape(k, 1),
        p_mean=np.asarray(p_fused, float),
        p_fused=np.asarray(p_fused, float),
        votes=np.ones(k, int),
        agreement=np.ones(k),
        class_votes=np.asarray(class_votes, float),
        member_boxes=no_boxes,
        n_images=n,
        members=("m",),
        classes=tuple("abcdef"[:c]),
        weights=np.ones(1),
    )


# Answers of the cluster: first class .6, second .2, no object .2.
SINGLE = ([0.8], [[3.0, 1.0]])
ENTROPY = -(0.6 * log(0.6) + 0.4 * log(0.2)) / log(3)
ROWS = [
    pytest.param(baselines.least_confidence, 0.4, id="1 - .6"),
    pytest.param(baselines.margin, 0.6, id="1 - (.6 - .2)"),
    pytest.param(baselines.max_entropy, ENTROPY, id="entropy relative to three answers"),
    pytest.param(baselines.mean_entropy, ENTROPY, id="mean of a single cluster"),
]


@pytest.mark.parametrize(("baseline", "expected"), ROWS)
def test_baselines_of_single_cluster(baseline, expected):
    values = baseline(clusters(*SINGLE, image=[1], n=3))
    assert values == pytest.approx([0.0, expected, 0.0])


def test_max_and_mean_entropy_pool_differently():
    # Certain of the first (entropy 0), two equal answers for the second: ln 2 / ln 3.
    two = clusters([1.0, 0.5], [[1.0, 0.0], [1.0, 0.0]], image=[0, 0], n=1)
    assert baselines.max_entropy(two) == pytest.approx([log(2) / log(3)])
    assert baselines.mean_entropy(two) == pytest.approx([log(2) / log(3) / 2])


def test_random_is_reproducible_and_uniform():
    values = baselines.random(10_000, seed=3)
    assert (values == baselines.random(10_000, seed=3)).all()
    assert values.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("baseline", [row.values[0] for row in ROWS])
def test_baselines_without_clusters_are_zero(baseline):
    none = clusters([], np.empty((0, 2)), image=[], n=2)
    assert baseline(none).tolist() == [0.0, 0.0]
