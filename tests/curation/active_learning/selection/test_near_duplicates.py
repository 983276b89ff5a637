"""Near-duplicates against a slow reference, and on edge cases."""

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
    """Return embeddings in tight clusters, drives, times with gaps, and an order."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n // 4, d))
    z = unit(centers[rng.integers(len(centers), size=n)] + 0.2 * rng.normal(size=(n, d)))
    names = [None if i == 0 else f"drive-{i}" for i in rng.integers(drives, size=n)]
    times = np.where(rng.random(n) < 0.1, NAN, rng.uniform(0, 60, n))
    return z, names, times, rng.permutation(n)


def _slowly(z, order, drives, times, *, within_s, cosine, n_protected):
    """Return the retained rows, in order, by comparing each sample with all retained ones."""

    def _apart(i, j):
        return np.inf if drives[i] is None else abs(times[i] - times[j])

    retained = []
    for position, i in enumerate(order):
        originals = [
            j
            for j in retained
            if z[i] @ z[j] >= cosine
            or (
                drives[i] is not None
                and drives[i] == drives[j]
                and abs(times[i] - times[j]) < within_s
            )
        ]
        if position < n_protected or not originals:
            retained.append(i)
    return retained


@pytest.mark.parametrize("chunk", [7, 64, 2048])
@pytest.mark.parametrize("n_protected", [0, 20])
@pytest.mark.parametrize("seed", range(3))
def test_deduplicate_equals_slow_reference(seed, n_protected, chunk, monkeypatch):
    monkeypatch.setattr(near_duplicates, "CHUNK", chunk)
    z, drives, times, order = bursts(seed)
    limits = {"within_s": 1.0, "cosine": 0.95, "n_protected": n_protected}
    result = near_duplicates.deduplicate(z, order, drives=drives, times_s=times, **limits)
    expected = _slowly(z, order, drives, times, **limits)
    assert result.rows.tolist() == sorted(expected)
    assert 0 < len(result.dropped) < len(z)
    for row in result.dropped:
        original = result.duplicate_of[row]
        assert result.retained[original]
        close = drives[row] == drives[original] and abs(times[row] - times[original]) < 1.0
        assert close or z[row] @ z[original] >= 0.95 - 1e-6


@pytest.mark.parametrize("n_protected", [0, 20])
@pytest.mark.parametrize("seed", range(5))
def test_cached_pairs_give_same_result(seed, n_protected, monkeypatch):
    monkeypatch.setattr(near_duplicates, "CHUNK", 64)
    z, drives, times, order = bursts(seed)
    pairs = SimilarPairs(0.95, similar_pairs.find_pairs(z, 0.95))
    limits = {"drives": drives, "times_s": times, "cosine": 0.95, "n_protected": n_protected}
    cached = near_duplicates.deduplicate(z, order, pairs=pairs, **limits)
    compared = near_duplicates.deduplicate(z, order, **limits)
    assert 0 < len(compared.dropped) < len(z)
    assert cached.duplicate_of.tolist() == compared.duplicate_of.tolist()
    unrelated = np.zeros_like(z)  # cached pairs need no vectors
    without_vectors = near_duplicates.deduplicate(unrelated, order, pairs=pairs, **limits)
    assert without_vectors.duplicate_of.tolist() == compared.duplicate_of.tolist()


def test_pairs_of_other_threshold_are_ignored():
    z, drives, times, order = bursts(0)
    pairs = SimilarPairs(0.5, similar_pairs.find_pairs(z, 0.5))
    limits = {"drives": drives, "times_s": times, "cosine": 0.95}
    result = near_duplicates.deduplicate(z, order, pairs=pairs, **limits)
    assert (
        result.duplicate_of.tolist()
        == near_duplicates.deduplicate(z, order, **limits).duplicate_of.tolist()
    )


def test_duplicate_refers_to_first_similar_sample():
    z = unit([[1, 0.2], [1, -0.2], [1, 0.15]])  # 0 and 1 differ; 2 is closer to 0 than to 1
    order = np.array([1, 0, 2])
    result = near_duplicates.deduplicate(
        z, order, drives=[None] * 3, times_s=np.full(3, NAN), cosine=0.94
    )
    assert result.duplicate_of.tolist() == [-1, -1, 1]


FOUR = unit(np.eye(4))  # four images without similarity
TIMES = [
    pytest.param(["a", "a"], [0.0, 0.9], [0], id="less than a second apart"),
    pytest.param(["a", "a"], [0.0, 1.0], [0, 1], id="a second apart"),
    pytest.param(["a", "b"], [0.0, 0.0], [0, 1], id="two drives"),
    pytest.param([None, None], [0.0, 0.0], [0, 1], id="no drive"),
    pytest.param(["a", "a"], [NAN, 0.0], [0, 1], id="unknown time"),
    pytest.param(["a"] * 4, [0.0, 0.5, 1.0, 1.5], [0, 2], id="frames do not form chains"),
    pytest.param(["a", "a"], [-0.2, 0.2], [0], id="across zero"),
]


@pytest.mark.parametrize(("drives", "times", "retained"), TIMES)
def test_frames_within_a_second(drives, times, retained):
    n = len(drives)
    result = near_duplicates.deduplicate(
        FOUR[:n], np.arange(n), drives=drives, times_s=np.array(times), cosine=0.9
    )
    assert result.rows.tolist() == retained


def test_video_retains_about_one_frame_per_second():
    n = 600
    z = unit(np.random.default_rng(0).normal(size=(n, 64)))
    order = np.random.default_rng(1).permutation(n)
    result = near_duplicates.deduplicate(
        z, order, drives=["a"] * n, times_s=np.arange(n) / 10, cosine=0.99
    )
    assert 30 <= len(result.rows) <= 60


def test_first_sample_in_order_is_retained():
    z = unit([[1, 0], [1, 0.01], [0, 1]])
    result = near_duplicates.deduplicate(
        z, np.array([1, 0, 2]), drives=[None] * 3, times_s=np.full(3, NAN), cosine=0.97
    )
    assert result.retained.tolist() == [False, True, True]
    assert result.duplicate_of.tolist() == [1, -1, -1]


def test_identical_embeddings_leave_single_sample():
    z = unit(np.ones((5000, 8)))
    result = near_duplicates.deduplicate(
        z, np.arange(5000), drives=[None] * 5000, times_s=np.full(5000, NAN)
    )
    assert result.rows.tolist() == [0]


def test_no_samples():
    result = near_duplicates.deduplicate(
        np.empty((0, 4), np.float32), np.arange(0), drives=[], times_s=np.empty(0)
    )
    assert len(result.rows) == 0


def pairs_of_cosine(cosines):
    """Embeddings and pairs (0, i) such that pair i has the given cosine."""
    angles = np.arccos(np.asarray(cosines))
    z = np.concatenate([[[1.0, 0.0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    return z, np.array([[0, i + 1] for i in range(len(cosines))])


def test_threshold_separates_duplicates_from_different_pairs():
    z, pairs = pairs_of_cosine([0.99, 0.98, 0.96, 0.90, 0.5])
    threshold = near_duplicates.calibrate_cosine(z, pairs[:3], pairs[3:])
    assert threshold.cosine == pytest.approx(0.93)
    assert (threshold.recall, threshold.false_rate) == (1.0, 0.0)


def test_threshold_respects_false_rate():
    rng = np.random.default_rng(0)
    same, other = rng.uniform(0.9, 1.0, 500), rng.uniform(0.5, 0.95, 1000)
    z, pairs = pairs_of_cosine([*same, *other])
    threshold = near_duplicates.calibrate_cosine(z, pairs[:500], pairs[500:], false_rate=0.02)
    assert threshold.false_rate == (other >= threshold.cosine).mean() <= 0.02
    assert threshold.recall == (same >= threshold.cosine).mean() > 0.5


def test_threshold_needs_duplicates_and_different_pairs():
    z, pairs = pairs_of_cosine([0.99])
    with pytest.raises(SelectionError, match=r"known different pairs, got 1 and 0\."):
        near_duplicates.calibrate_cosine(z, pairs, pairs[:0])
