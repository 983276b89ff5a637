"""Near-duplicates against brute force, and the chain of frames that grouping would swallow."""

import numpy as np
import pytest

from curation.active_learning.selection import near_duplicates
from curation.errors import SelectionError
from curation.storage.embeddings import similar_pairs
from curation.storage.embeddings.similar_pairs import SimilarPairs

NAN = np.nan


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bursts(seed, n=300, d=8, drives=6):
    """Embeddings in tight clumps, drives, and times of which some are unknown."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n // 4, d))
    z = unit(centres[rng.integers(len(centres), size=n)] + 0.2 * rng.normal(size=(n, d)))
    names = [None if i == 0 else f"drive-{i}" for i in rng.integers(drives, size=n)]
    times = np.where(rng.random(n) < 0.1, NAN, rng.uniform(0, 60, n))
    return z, names, times, rng.permutation(n)


def _slowly(z, order, drives, times, *, within_s, cosine, always):
    """Return the kept rows, in order, by comparing each sample with all kept ones."""

    def _apart(i, j):
        return np.inf if drives[i] is None else abs(times[i] - times[j])

    kept = []
    for position, i in enumerate(order):
        twins = [
            j
            for j in kept
            if z[i] @ z[j] >= cosine
            or (
                drives[i] is not None
                and drives[i] == drives[j]
                and abs(times[i] - times[j]) < within_s
            )
        ]
        if position < always or not twins:
            kept.append(i)
    return kept


@pytest.mark.parametrize("chunk", [7, 64, 2048])
@pytest.mark.parametrize("always", [0, 20])
@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force(seed, always, chunk, monkeypatch):
    monkeypatch.setattr(near_duplicates, "CHUNK", chunk)
    z, drives, times, order = bursts(seed)
    limits = {"within_s": 1.0, "cosine": 0.95, "always": always}
    kept = near_duplicates.deduplicate(z, order, drives=drives, times_s=times, **limits)
    expected = _slowly(z, order, drives, times, **limits)
    assert kept.rows.tolist() == sorted(expected)
    assert 0 < len(kept.dropped) < len(z)
    for row in kept.dropped:
        twin = kept.duplicate_of[row]
        assert kept.kept[twin]
        close = drives[row] == drives[twin] and abs(times[row] - times[twin]) < 1.0
        assert close or z[row] @ z[twin] >= 0.95 - 1e-6


@pytest.mark.parametrize("always", [0, 20])
@pytest.mark.parametrize("seed", range(5))
def test_known_pairs_give_the_same_as_comparing(seed, always, monkeypatch):
    monkeypatch.setattr(near_duplicates, "CHUNK", 64)
    z, drives, times, order = bursts(seed)
    known = SimilarPairs(0.95, similar_pairs.find_pairs(z, 0.95))
    limits = {"drives": drives, "times_s": times, "cosine": 0.95, "always": always}
    looked_up = near_duplicates.deduplicate(z, order, known=known, **limits)
    compared = near_duplicates.deduplicate(z, order, **limits)
    assert 0 < len(compared.dropped) < len(z)
    assert looked_up.duplicate_of.tolist() == compared.duplicate_of.tolist()
    nowhere = np.zeros_like(z)  # what is known is not compared again
    again = near_duplicates.deduplicate(nowhere, order, known=known, **limits)
    assert again.duplicate_of.tolist() == compared.duplicate_of.tolist()


def test_pairs_of_another_threshold_are_not_used():
    z, drives, times, order = bursts(0)
    known = SimilarPairs(0.5, similar_pairs.find_pairs(z, 0.5))
    limits = {"drives": drives, "times_s": times, "cosine": 0.95}
    found = near_duplicates.deduplicate(z, order, known=known, **limits)
    assert (
        found.duplicate_of.tolist()
        == near_duplicates.deduplicate(z, order, **limits).duplicate_of.tolist()
    )


def test_a_duplicate_is_of_the_first_kept_sample_that_looks_like_it():
    z = unit([[1, 0.2], [1, -0.2], [1, 0.15]])  # 0 and 1 differ; 2 is nearer to 0 than to 1
    order = np.array([1, 0, 2])
    found = near_duplicates.deduplicate(
        z, order, drives=[None] * 3, times_s=np.full(3, NAN), cosine=0.94
    )
    assert found.duplicate_of.tolist() == [-1, -1, 1]


FOUR = unit(np.eye(4))  # four images that have nothing in common
TIMES = [
    pytest.param(["a", "a"], [0.0, 0.9], [0], id="less than a second apart"),
    pytest.param(["a", "a"], [0.0, 1.0], [0, 1], id="a whole second apart is no duplicate"),
    pytest.param(["a", "b"], [0.0, 0.0], [0, 1], id="two drives"),
    pytest.param([None, None], [0.0, 0.0], [0, 1], id="no drive"),
    pytest.param(["a", "a"], [NAN, 0.0], [0, 1], id="unknown time"),
    pytest.param(["a"] * 4, [0.0, 0.5, 1.0, 1.5], [0, 2], id="frames do not chain up"),
    pytest.param(["a", "a"], [-0.2, 0.2], [0], id="across zero"),
]


@pytest.mark.parametrize(("drives", "times", "kept"), TIMES)
def test_frames_of_one_moment(drives, times, kept):
    n = len(drives)
    found = near_duplicates.deduplicate(
        FOUR[:n], np.arange(n), drives=drives, times_s=np.array(times), cosine=0.9
    )
    assert found.rows.tolist() == kept


def test_a_minute_of_video_keeps_a_frame_a_second():
    n = 600
    z = unit(np.random.default_rng(0).normal(size=(n, 64)))
    order = np.random.default_rng(1).permutation(n)
    kept = near_duplicates.deduplicate(
        z, order, drives=["a"] * n, times_s=np.arange(n) / 10, cosine=0.99
    )
    assert 30 <= len(kept.rows) <= 60


def test_the_first_of_the_order_is_kept():
    z = unit([[1, 0], [1, 0.01], [0, 1]])
    kept = near_duplicates.deduplicate(
        z, np.array([1, 0, 2]), drives=[None] * 3, times_s=np.full(3, NAN), cosine=0.97
    )
    assert kept.kept.tolist() == [False, True, True]
    assert kept.duplicate_of.tolist() == [1, -1, -1]


def test_identical_embeddings_leave_one():
    z = unit(np.ones((5000, 8)))
    kept = near_duplicates.deduplicate(
        z, np.arange(5000), drives=[None] * 5000, times_s=np.full(5000, NAN)
    )
    assert kept.rows.tolist() == [0]


def test_nothing_to_drop():
    kept = near_duplicates.deduplicate(
        np.empty((0, 4), np.float32), np.arange(0), drives=[], times_s=np.empty(0)
    )
    assert len(kept.rows) == 0


def pairs_of_cosine(cosines):
    """Embeddings and pairs (0, i) such that pair i has the given cosine."""
    angles = np.arccos(np.asarray(cosines))
    z = np.concatenate([[[1.0, 0.0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    return z, np.array([[0, i + 1] for i in range(len(cosines))])


def test_threshold_lies_between_the_two_kinds():
    z, pairs = pairs_of_cosine([0.99, 0.98, 0.96, 0.90, 0.5])
    found = near_duplicates.calibrate_cosine(z, pairs[:3], pairs[3:])
    assert found.cosine == pytest.approx(0.93)
    assert (found.recall, found.false_rate) == (1.0, 0.0)


def test_threshold_lets_few_different_pairs_through():
    rng = np.random.default_rng(0)
    same, other = rng.uniform(0.9, 1.0, 500), rng.uniform(0.5, 0.95, 1000)
    z, pairs = pairs_of_cosine([*same, *other])
    found = near_duplicates.calibrate_cosine(z, pairs[:500], pairs[500:], false_rate=0.02)
    assert found.false_rate == (other >= found.cosine).mean() <= 0.02
    assert found.recall == (same >= found.cosine).mean() > 0.5


def test_threshold_needs_both_kinds():
    z, pairs = pairs_of_cosine([0.99])
    with pytest.raises(SelectionError, match=r"known different pairs, got 1 and 0\."):
        near_duplicates.calibrate_cosine(z, pairs, pairs[:0])
