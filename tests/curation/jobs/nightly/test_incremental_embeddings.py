"""A night adds to what searches by likeness, and makes nothing of it anew."""

import numpy as np
import pytest

from curation.jobs.nightly.incremental_embeddings import extend_index
from curation.storage import schema
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

FINGERPRINT = "f" * 16


@pytest.fixture
def grow(dataset, tmp_path):
    """Return what adds n samples with vectors, and returns their ids."""
    import fiftyone as fo

    rng = np.random.default_rng(0)
    brain_runs.record_embedder(dataset, tmp_path, "m", FINGERPRINT)

    def add(n):
        vectors = rng.normal(size=(n, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = dataset.add_samples([fo.Sample(filepath=f"/{rng.random()}.jpg") for _ in range(n)])
        VectorTable(tmp_path, FINGERPRINT).add(ids, vectors)
        return ids

    return add


def index_of(dataset):
    found = dataset.load_brain_results(schema.SIMILARITY, cache=False, load_view=False)
    return dict(zip(found.sample_ids.tolist(), found.get_embeddings()[0], strict=True))


def test_index_is_extended_by_missing_vectors(dataset, grow, monkeypatch):
    import fiftyone.brain as fob

    first = grow(12)
    brain_runs.update_index(dataset, first)
    made = dataset.get_brain_info(schema.SIMILARITY).timestamp
    dataset.sort_by_similarity(first[0], brain_key=schema.SIMILARITY)  # centres its vectors
    new = grow(3)
    monkeypatch.setattr(fob, "compute_similarity", lambda *_, **__: pytest.fail("made anew"))
    assert extend_index(dataset) == 3
    assert extend_index(dataset) == 0
    assert dataset.get_brain_info(schema.SIMILARITY).timestamp == made
    there = index_of(dataset)
    assert there.keys() == {*first, *new}
    for one, vector in zip(first + new, brain_runs.read_vectors(dataset, first + new), strict=True):
        np.testing.assert_array_equal(there[one], vector)
    nearest = dataset.sort_by_similarity(new[0], k=3, brain_key=schema.SIMILARITY)
    centred = brain_runs.read_vectors(dataset, first + new)
    centred = centred - centred.mean(axis=0)
    cosines = (centred @ centred[12]) / np.linalg.norm(centred, axis=1)
    assert nearest.values("id") == [(first + new)[i] for i in np.argsort(-cosines)[:3]]


def test_missing_index_is_not_created(dataset, grow):
    grow(3)
    assert extend_index(dataset) == 0
    assert dataset.list_brain_runs() == []


def test_sample_without_vector_is_not_indexed(dataset, grow):
    import fiftyone as fo

    brain_runs.update_index(dataset, grow(5))
    dataset.add_sample(fo.Sample(filepath="/broken.jpg"))
    assert extend_index(dataset) == 0


def test_vector_table_is_appended(grow, tmp_path):
    def files():
        return {
            one.name: (one.stat().st_mtime_ns, one.stat().st_ino)
            for one in tmp_path.glob("*.lance/data/*")
        }

    grow(200)
    before = files()
    grow(5)
    after = files()
    assert before
    assert before.items() <= after.items(), "what was there is untouched"
    assert len(after) == len(before) + 1
    sizes = [one.stat().st_size for one in tmp_path.glob("*.lance/data/*")]
    assert min(sizes) < max(sizes) / 10


def test_index_with_deleted_samples_is_rebuilt(dataset, grow):
    ids = grow(4)
    brain_runs.rebuild(dataset, ids)
    dataset.delete_samples(ids[:1])
    brain_runs.rebuild(dataset, ids[1:])
    assert index_of(dataset).keys() == {*ids[1:]}
