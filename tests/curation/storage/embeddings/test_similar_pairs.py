"""Similar pairs against a slow reference, in one search and extended."""

import numpy as np
import pytest

from curation.storage.embeddings import similar_pairs
from curation.storage.embeddings.similar_pairs import SimilarPairs


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clumps(n=300, d=16, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n // 4, d))
    return unit(centers[rng.integers(len(centers), size=n)] + 0.1 * rng.normal(size=(n, d)))


def slowly(z, cosine):
    exact = z.astype(np.float64)
    n = len(z)
    return {
        (i, j) for i in range(n) for j in range(i + 1, n) if (exact[i] * exact[j]).sum() >= cosine
    }


def as_set(pairs):
    pairs_ = [tuple(sorted(pair)) for pair in pairs.tolist()]
    assert len(pairs_) == len(set(pairs_)), "each pair once"
    return set(pairs_)


@pytest.mark.parametrize("chunk", [7, 64, 2048])
def test_find_pairs_equals_slow_reference(chunk, monkeypatch):
    monkeypatch.setattr(similar_pairs, "CHUNK", chunk)
    z = clumps()
    expected = slowly(z, 0.95)
    assert len(expected) > 100
    assert as_set(similar_pairs.find_pairs(z, 0.95)) == expected


@pytest.mark.parametrize("step", [1, 50, 299])
def test_extended_pairs_equal_full_search(step, monkeypatch):
    monkeypatch.setattr(similar_pairs, "CHUNK", 64)
    z = clumps()
    n_compared, pairs = 0, set()
    while n_compared < len(z):
        n_total = min(n_compared + step, len(z))
        new = as_set(similar_pairs.find_pairs(z[:n_total], 0.95, n_compared=n_compared))
        assert all(j >= n_compared for _, j in new)
        assert pairs.isdisjoint(new)
        n_compared, pairs = n_total, pairs | new
    assert pairs == as_set(similar_pairs.find_pairs(z, 0.95))


def test_cosine_at_threshold_does_not_depend_on_block():
    """Rounding in a matrix product depends on its shape; here it would change the result."""
    rng = np.random.default_rng(0)
    a = unit(rng.normal(size=(250, 256)))
    z = np.concatenate([a, unit(0.7 * a + 0.3 * rng.normal(size=a.shape))])
    exact = (z[:250].astype(np.float64) * z[250:].astype(np.float64)).sum(axis=1)
    blocks = [np.empty(0, np.int64), np.arange(3), np.arange(500)]
    for i in range(30):
        for cosine, expected in ((exact[i], True), (np.nextafter(exact[i], 2.0), False)):
            answers = {
                bool(
                    similar_pairs.compare(
                        z, np.append(rows, i), np.append(others, 250 + i), cosine
                    )[-1, -1]
                )
                for rows in blocks
                for others in blocks
            }
            assert answers == {expected}


def test_too_many_pairs_return_none():
    z = unit(np.ones((100, 4)))
    assert len(similar_pairs.find_pairs(z, 0.9)) == 100 * 99 // 2
    assert similar_pairs.find_pairs(z, 0.9, max_pairs=4949) is None
    assert len(similar_pairs.find_pairs(z, 0.9, max_pairs=4950)) == 4950


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_vectors_have_no_pairs(n):
    assert similar_pairs.find_pairs(np.ones((n, 1), np.float32), 0.9).shape == (0, 2)


def test_neighbors_include_both_directions():
    starts, others = SimilarPairs(0.9, np.array([[0, 2], [2, 3]])).neighbors(5)
    lists = [sorted(others[starts[i] : starts[i + 1]].tolist()) for i in range(5)]
    assert lists == [[2], [], [0, 3], [2], []]
