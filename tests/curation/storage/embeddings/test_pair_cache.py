"""Cached pairs equal those of a full comparison, for any order of updates."""

import logging
import re

import numpy as np
import pytest

from curation.errors import StoreError
from curation.storage.embeddings import similar_pairs
from curation.storage.embeddings.pair_cache import PairCache
from curation.storage.embeddings.table import VectorTable

FINGERPRINT = "f" * 16
COSINE = 0.95


def ids(n, start=0):
    return [f"{i:024x}" for i in range(start, start + n)]


def clumps(n, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(40, 16))[rng.integers(40, size=n)] + 0.1 * rng.normal(size=(n, 16))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def as_set(pairs):
    return {tuple(sorted(pair)) for pair in pairs.tolist()}


@pytest.fixture
def table(tmp_path):
    return VectorTable(tmp_path, FINGERPRINT)


@pytest.fixture
def cache(tmp_path):
    return PairCache(tmp_path, FINGERPRINT, COSINE)


@pytest.fixture
def read_log(caplog):
    """Return a function with the logged numbers of new and all vectors since its last call."""
    caplog.set_level(logging.INFO, logger="curation.storage.embeddings.pair_cache")

    def take():
        matches = [
            re.match(r"Compared (\d+) new images with (\d+):", message)
            for message in caplog.messages
        ]
        caplog.clear()
        return [(int(match[1]), int(match[2])) for match in matches if match]

    return take


def test_update_compares_new_vectors_only(table, cache, read_log):
    z = clumps(300)
    n_done = 0
    for n_total in (200, 230, 231, 300):
        table.add(ids(n_total - n_done, n_done), z[n_done:n_total])
        pairs = cache.pairs_for(ids(n_total))
        assert as_set(pairs.pairs) == as_set(similar_pairs.find_pairs(z[:n_total], COSINE))
        assert read_log() == [(n_total - n_done, n_total)]
        n_done = n_total
    assert cache.pairs_for(ids(300)).cosine == COSINE
    assert read_log() == []


def test_pairs_are_rows_of_requested_ids(table, cache):
    z = clumps(100)
    table.add(ids(100), z)
    order = np.random.default_rng(1).permutation(100)[:80]
    pairs = cache.pairs_for([ids(100)[i] for i in order])
    assert as_set(pairs.pairs) == as_set(similar_pairs.find_pairs(z[order], COSINE))
    assert len(pairs.pairs) > 10


def test_changed_vector_is_compared_again(table, cache, read_log):
    z = clumps(100)
    table.add(ids(100), z)
    cache.pairs_for(ids(100))
    z[7], z[8] = z[50], -z[51]
    table.add(ids(2, 7), z[7:9])
    read_log()
    assert as_set(cache.pairs_for(ids(100)).pairs) == as_set(similar_pairs.find_pairs(z, COSINE))
    assert read_log() == [(2, 100)]


def test_small_view_is_not_cached(table, cache, tmp_path):
    table.add(ids(100), clumps(100))
    assert cache.pairs_for(ids(49)) is None
    assert list(tmp_path.glob("alike-*")) == []
    assert cache.pairs_for(ids(50)) is not None


def test_threshold_and_embedder_have_separate_pairs(table, cache, tmp_path):
    z = clumps(100)
    table.add(ids(100), z)
    cache.pairs_for(ids(100))
    looser = PairCache(tmp_path, FINGERPRINT, 0.5).pairs_for(ids(100))
    assert as_set(looser.pairs) == as_set(similar_pairs.find_pairs(z, 0.5))
    VectorTable(tmp_path, "0" * 16).add(ids(100), clumps(100, seed=9))
    other = PairCache(tmp_path, "0" * 16, COSINE).pairs_for(ids(100))
    assert as_set(other.pairs) == as_set(similar_pairs.find_pairs(clumps(100, seed=9), COSINE))


def test_too_many_pairs_are_not_cached_or_searched_again(table, cache, read_log, monkeypatch):
    table.add(ids(50), np.tile(clumps(1), (50, 1)))
    with monkeypatch.context() as patched:
        patched.setattr(
            similar_pairs.find_pairs, "__kwdefaults__", {"n_compared": 0, "max_pairs": 100}
        )
        assert cache.pairs_for(ids(50)) is None
    table.add(ids(1, 50), clumps(1))
    monkeypatch.setattr(similar_pairs, "find_pairs", lambda *_, **__: pytest.fail("searched again"))
    assert cache.pairs_for(ids(51)) is None


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_damaged_file_is_recreated(table, cache, tmp_path, content, caplog):
    z = clumps(60)
    table.add(ids(60), z)
    cache.pairs_for(ids(60))
    (path,) = tmp_path.glob("alike-*.npz")
    path.write_bytes(content)
    assert as_set(cache.pairs_for(ids(60)).pairs) == as_set(similar_pairs.find_pairs(z, COSINE))
    assert "is damaged" in caplog.text
    assert path.stat().st_size > 100


def test_full_disk_keeps_earlier_file(table, cache, tmp_path, monkeypatch):
    table.add(ids(60), clumps(60))
    cache.pairs_for(ids(60))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("alike-*")}
    table.add(ids(1, 60), clumps(1))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(StoreError, match=r"No space left on device\. Make room"):
        cache.pairs_for(ids(61))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("alike-*")} == before
