"""The approximate index against all pairs."""

import numpy as np
import pytest

from curation.storage.embeddings import ann_index, similar_pairs


def drives(n, seed=0, d=48):
    """Return vectors of length 1, every fifth a near copy of the one before it."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, d))
    made = centres[rng.integers(0, 20, n)] + 0.5 * rng.normal(size=(n, d))
    made[1::5] = made[0::5][: len(made[1::5])] + 0.03 * rng.normal(size=(len(made[1::5]), d))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def as_set(pairs):
    return {tuple(one) for one in pairs.tolist()}


@pytest.mark.parametrize("known", [0, 2500])
def test_what_is_found_is_true_and_nearly_all(known):
    vectors = drives(3000)
    exact = as_set(similar_pairs.find_pairs(vectors, 0.975, known=known))
    found = as_set(ann_index.find_pairs(vectors, 0.975, known=known))
    assert len(exact) > 50
    assert found <= exact
    assert len(found) >= 0.99 * len(exact)


def test_too_many_pairs_are_not_kept():
    same = np.tile(drives(1), (200, 1))
    assert ann_index.find_pairs(same, 0.975, most=1000) is None
    assert len(ann_index.find_pairs(same, 0.975)) == 200 * 199 // 2


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_make_no_pair(n):
    assert ann_index.find_pairs(drives(5)[:n], 0.975).shape == (0, 2)


def test_nothing_new_no_new_pairs():
    assert ann_index.find_pairs(drives(50), 0.975, known=50).shape == (0, 2)
