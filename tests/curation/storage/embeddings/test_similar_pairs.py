"""Pairs that look alike, against the slow and obvious way, and found bit by bit."""

import numpy as np
import pytest

from curation.storage.embeddings import similar_pairs
from curation.storage.embeddings.similar_pairs import SimilarPairs


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clumps(n=300, d=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n // 4, d))
    return unit(centres[rng.integers(len(centres), size=n)] + 0.1 * rng.normal(size=(n, d)))


def slowly(z, cosine):
    exact = z.astype(np.float64)
    n = len(z)
    return {
        (i, j) for i in range(n) for j in range(i + 1, n) if (exact[i] * exact[j]).sum() >= cosine
    }


def as_set(pairs):
    found = [tuple(sorted(one)) for one in pairs.tolist()]
    assert len(found) == len(set(found)), "each pair once"
    return set(found)


@pytest.mark.parametrize("chunk", [7, 64, 2048])
def test_all_pairs_are_found(chunk, monkeypatch):
    monkeypatch.setattr(similar_pairs, "CHUNK", chunk)
    z = clumps()
    expected = slowly(z, 0.95)
    assert len(expected) > 100
    assert as_set(similar_pairs.find_pairs(z, 0.95)) == expected


@pytest.mark.parametrize("step", [1, 50, 299])
def test_pairs_that_are_extended_are_those_that_are_found_anew(step, monkeypatch):
    monkeypatch.setattr(similar_pairs, "CHUNK", 64)
    z = clumps()
    known, pairs = 0, set()
    while known < len(z):
        until = min(known + step, len(z))
        new = as_set(similar_pairs.find_pairs(z[:until], 0.95, known=known))
        assert all(j >= known for _, j in new)
        assert pairs.isdisjoint(new)
        known, pairs = until, pairs | new
    assert pairs == as_set(similar_pairs.find_pairs(z, 0.95))


def test_a_cosine_at_the_threshold_is_decided_alike_in_every_block():
    """Rounding in a matrix product depends on its shape; here it would decide."""
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


def test_too_many_pairs_are_given_up():
    z = unit(np.ones((100, 4)))
    assert len(similar_pairs.find_pairs(z, 0.9)) == 100 * 99 // 2
    assert similar_pairs.find_pairs(z, 0.9, most=4949) is None
    assert len(similar_pairs.find_pairs(z, 0.9, most=4950)) == 4950


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_looks_like_nothing(n):
    assert similar_pairs.find_pairs(np.ones((n, 1), np.float32), 0.9).shape == (0, 2)


def test_neighbours_are_listed_for_both_of_a_pair():
    begins, others = SimilarPairs(0.9, np.array([[0, 2], [2, 3]])).neighbours(5)
    lists = [sorted(others[begins[i] : begins[i + 1]].tolist()) for i in range(5)]
    assert lists == [[2], [], [0, 3], [2], []]
