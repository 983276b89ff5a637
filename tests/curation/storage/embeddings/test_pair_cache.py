"""Pairs kept on disk are those of a full comparison, whatever came in which order."""

import logging
import re

import numpy as np
import pytest

from curation.errors import StoreError
from curation.storage.embeddings import pair_cache, similar_pairs
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
    return {tuple(sorted(one)) for one in pairs.tolist()}


@pytest.fixture
def table(tmp_path):
    return VectorTable(tmp_path, FINGERPRINT)


@pytest.fixture
def known(tmp_path):
    return PairCache(tmp_path, FINGERPRINT, COSINE)


@pytest.fixture
def compared(caplog):
    """Return `compared()`: how many vectors were compared with how many since the last call."""
    caplog.set_level(logging.INFO, logger="curation.storage.embeddings.pair_cache")

    def take():
        said = [re.match(r"(\d+) new images .* with (\d+):", one) for one in caplog.messages]
        caplog.clear()
        return [(int(one[1]), int(one[2])) for one in said if one]

    return take


def test_each_night_compares_what_is_new_and_knows_what_a_full_comparison_would(
    table, known, compared
):
    z = clumps(300)
    done = 0
    for until in (200, 230, 231, 300):
        table.add(ids(until - done, done), z[done:until])
        found = known.pairs_for(ids(until))
        assert as_set(found.pairs) == as_set(similar_pairs.find_pairs(z[:until], COSINE))
        assert compared() == [(until - done, until)]
        done = until
    assert known.pairs_for(ids(300)).cosine == COSINE
    assert compared() == []


def test_pairs_are_rows_of_what_is_asked_for(table, known):
    z = clumps(100)
    table.add(ids(100), z)
    order = np.random.default_rng(1).permutation(100)[:80]
    found = known.pairs_for([ids(100)[i] for i in order])
    assert as_set(found.pairs) == as_set(similar_pairs.find_pairs(z[order], COSINE))
    assert len(found.pairs) > 10


def test_a_vector_that_is_another_now_is_compared_anew(table, known, compared):
    z = clumps(100)
    table.add(ids(100), z)
    known.pairs_for(ids(100))
    z[7], z[8] = z[50], -z[51]
    table.add(ids(2, 7), z[7:9])
    compared()
    assert as_set(known.pairs_for(ids(100)).pairs) == as_set(similar_pairs.find_pairs(z, COSINE))
    assert compared() == [(2, 100)]


def test_a_view_of_a_few_samples_is_not_worth_it(table, known, tmp_path):
    table.add(ids(100), clumps(100))
    assert known.pairs_for(ids(49)) is None
    assert list(tmp_path.glob("alike-*")) == []
    assert known.pairs_for(ids(50)) is not None


def test_another_threshold_or_embedder_has_its_own_pairs(table, known, tmp_path):
    z = clumps(100)
    table.add(ids(100), z)
    known.pairs_for(ids(100))
    looser = PairCache(tmp_path, FINGERPRINT, 0.5).pairs_for(ids(100))
    assert as_set(looser.pairs) == as_set(similar_pairs.find_pairs(z, 0.5))
    VectorTable(tmp_path, "0" * 16).add(ids(100), clumps(100, seed=9))
    other = PairCache(tmp_path, "0" * 16, COSINE).pairs_for(ids(100))
    assert as_set(other.pairs) == as_set(similar_pairs.find_pairs(clumps(100, seed=9), COSINE))


def test_too_many_pairs_are_not_kept_and_not_looked_for_again(table, known, compared, monkeypatch):
    table.add(ids(50), np.tile(clumps(1), (50, 1)))
    with monkeypatch.context() as patched:
        patched.setattr(similar_pairs.find_pairs, "__kwdefaults__", {"known": 0, "most": 100})
        assert known.pairs_for(ids(50)) is None
    table.add(ids(1, 50), clumps(1))
    monkeypatch.setattr(pair_cache.alike, "find", lambda *_, **__: pytest.fail("looked again"))
    assert known.pairs_for(ids(51)) is None


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_made_anew(table, known, tmp_path, content, caplog):
    z = clumps(60)
    table.add(ids(60), z)
    known.pairs_for(ids(60))
    (path,) = tmp_path.glob("alike-*.npz")
    path.write_bytes(content)
    assert as_set(known.pairs_for(ids(60)).pairs) == as_set(similar_pairs.find_pairs(z, COSINE))
    assert "is damaged" in caplog.text
    assert path.stat().st_size > 100


def test_a_full_disk_leaves_what_was_there(table, known, tmp_path, monkeypatch):
    table.add(ids(60), clumps(60))
    known.pairs_for(ids(60))
    before = {one.name: one.read_bytes() for one in tmp_path.glob("alike-*")}
    table.add(ids(1, 60), clumps(1))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(StoreError, match=r"No space left on device\. Make room"):
        known.pairs_for(ids(61))
    assert {one.name: one.read_bytes() for one in tmp_path.glob("alike-*")} == before
