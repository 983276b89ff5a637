import numpy as np
import pytest

from curation.errors import StageError
from curation.storage import collection, schema
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

FINGERPRINT = "f" * 16


@pytest.fixture
def embedded(dataset, tmp_path):
    """Return the maker of a dataset of n samples with random vectors of length 1."""
    import fiftyone as fo

    def make(n):
        dataset.add_samples(
            [fo.Sample(filepath=f"/image{i}.jpg") for i in range(n)], progress=False
        )
        vectors = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids, _ = collection.ids_and_paths(dataset)
        VectorTable(tmp_path, FINGERPRINT).add(ids, vectors)
        brain_runs.record_embedder(dataset, tmp_path, "m", FINGERPRINT)
        return dataset, ids, vectors

    return make


def test_vectors_are_found_by_the_note_on_the_dataset(embedded):
    import fiftyone as fo

    dataset, ids, vectors = embedded(3)
    again = fo.load_dataset(dataset.name)
    np.testing.assert_array_equal(brain_runs.read_vectors(again, ids[::-1]), vectors[::-1])


def test_a_dataset_without_vectors_says_what_to_run(dataset):
    with pytest.raises(StageError, match=r"has no embeddings. Run `curate embed"):
        brain_runs.read_vectors(dataset, ["0" * 24])


def test_the_index_finds_the_nearest_and_the_picture_shows_all(embedded):
    dataset, ids, vectors = embedded(12)
    brain_runs.rebuild(dataset, ids)
    assert brain_runs.is_current(dataset, ids)
    cosines = vectors @ vectors[0]
    expected = [ids[i] for i in np.argsort(-cosines)[:3]]
    nearest = dataset.sort_by_similarity(ids[0], k=3, brain_key=schema.SIMILARITY)
    assert nearest.values("id") == expected
    picture = dataset.load_brain_results(schema.UMAP)
    assert picture.points.shape == (12, 2)
    assert list(picture.sample_ids) == ids


def test_more_samples_are_added_to_the_index_and_a_new_picture_drawn(embedded, monkeypatch):
    import fiftyone.brain as fob

    dataset, ids, _ = embedded(12)
    brain_runs.rebuild(dataset, ids[:9])
    monkeypatch.setattr(fob, "compute_similarity", lambda *_, **__: pytest.fail("made anew"))
    brain_runs.rebuild(dataset, ids)
    assert set(brain_runs.indexed_ids(dataset)) == set(ids)
    assert list(dataset.load_brain_results(schema.UMAP).sample_ids) == ids
    assert brain_runs.is_current(dataset, ids)


@pytest.mark.parametrize("n", [1, 4])
def test_a_few_samples_have_an_index_and_no_picture(embedded, n):
    dataset, ids, _ = embedded(n)
    brain_runs.rebuild(dataset, ids)
    assert dataset.list_brain_runs() == [schema.SIMILARITY]
    assert brain_runs.is_current(dataset, ids)


def test_nothing_to_draw_is_drawn(dataset, tmp_path):
    brain_runs.record_embedder(dataset, tmp_path, "m", FINGERPRINT)
    brain_runs.rebuild(dataset, [])
    assert dataset.list_brain_runs() == []
    assert brain_runs.is_current(dataset, [])


def test_drawn_is_what_shows_these_samples_and_no_others(embedded):
    dataset, ids, _ = embedded(4)
    assert not brain_runs.is_current(dataset, ids)
    brain_runs.rebuild(dataset, ids[:3])
    assert not brain_runs.is_current(dataset, ids)
    brain_runs.rebuild(dataset, ids)
    assert brain_runs.is_current(dataset, ids)
    dataset.delete_brain_run(schema.SIMILARITY)
    assert not brain_runs.is_current(dataset, ids)


def test_what_another_embedder_drew_goes(embedded, tmp_path):
    dataset, ids, _ = embedded(4)
    brain_runs.rebuild(dataset, ids)
    brain_runs.record_embedder(dataset, tmp_path, "m", FINGERPRINT)
    assert dataset.has_brain_run(schema.SIMILARITY), "the same embedder changes nothing"
    brain_runs.record_embedder(dataset, tmp_path, "m", "0" * 16)
    assert not dataset.has_brain_run(schema.SIMILARITY)
    assert not brain_runs.is_current(dataset, ids)
