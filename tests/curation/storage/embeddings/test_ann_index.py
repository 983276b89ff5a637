"""Approximate pairs against all pairs."""

import numpy as np
import pytest

from curation.storage.embeddings import ann_index, similar_pairs


def drives(n, seed=0, d=48):
    """Return unit vectors, every fifth almost equal to its predecessor."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(20, d))
    vectors = centers[rng.integers(0, 20, n)] + 0.5 * rng.normal(size=(n, d))
    vectors[1::5] = vectors[0::5][: len(vectors[1::5])] + 0.03 * rng.normal(
        size=(len(vectors[1::5]), d)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def as_set(pairs):
    return {tuple(pair) for pair in pairs.tolist()}


@pytest.mark.parametrize("n_compared", [0, 2500])
def test_approximate_pairs_are_nearly_all_exact_pairs(n_compared):
    vectors = drives(3000)
    exact = as_set(similar_pairs.find_pairs(vectors, 0.975, n_compared=n_compared))
    approximate = as_set(ann_index.find_pairs(vectors, 0.975, n_compared=n_compared))
    assert len(exact) > 50
    assert approximate <= exact
    assert len(approximate) >= 0.99 * len(exact)


def test_too_many_pairs_return_none():
    equal = np.tile(drives(1), (200, 1))
    assert ann_index.find_pairs(equal, 0.975, max_pairs=1000) is None
    assert len(ann_index.find_pairs(equal, 0.975)) == 200 * 199 // 2


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_vectors_have_no_pairs(n):
    assert ann_index.find_pairs(drives(5)[:n], 0.975).shape == (0, 2)


def test_no_new_vectors_have_no_new_pairs():
    assert ann_index.find_pairs(drives(50), 0.975, n_compared=50).shape == (0, 2)
