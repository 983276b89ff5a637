import numpy as np
import pytest

from curation.errors import StageError
from curation.storage import collection, schema
from curation.storage.embeddings import brain_runs
from curation.storage.embeddings.table import VectorTable

FINGERPRINT = "f" * 16


@pytest.fixture
def embedded(dataset, tmp_path):
    """Return a function that fills the dataset with n samples and random unit vectors."""
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


def test_vectors_are_located_by_dataset_info(embedded):
    import fiftyone as fo

    dataset, ids, vectors = embedded(3)
    again = fo.load_dataset(dataset.name)
    np.testing.assert_array_equal(brain_runs.read_vectors(again, ids[::-1]), vectors[::-1])


def test_dataset_without_embeddings_is_refused(dataset):
    with pytest.raises(StageError, match=r"has no embeddings. Run `curate embed"):
        brain_runs.read_vectors(dataset, ["0" * 24])


def test_index_and_plot_show_all_samples(embedded):
    dataset, ids, vectors = embedded(12)
    brain_runs.rebuild(dataset, ids)
    assert brain_runs.is_current(dataset, ids)
    cosines = vectors @ vectors[0]
    expected = [ids[i] for i in np.argsort(-cosines)[:3]]
    nearest = dataset.sort_by_similarity(ids[0], k=3, brain_key=schema.SIMILARITY)
    assert nearest.values("id") == expected
    plot = dataset.load_brain_results(schema.UMAP)
    assert plot.points.shape == (12, 2)
    assert list(plot.sample_ids) == ids


def test_new_samples_extend_index_and_redraw_plot(embedded, monkeypatch):
    import fiftyone.brain as fob

    dataset, ids, _ = embedded(12)
    brain_runs.rebuild(dataset, ids[:9])
    monkeypatch.setattr(fob, "compute_similarity", lambda *_, **__: pytest.fail("recreated"))
    brain_runs.rebuild(dataset, ids)
    assert set(brain_runs.indexed_ids(dataset)) == set(ids)
    assert list(dataset.load_brain_results(schema.UMAP).sample_ids) == ids
    assert brain_runs.is_current(dataset, ids)


@pytest.mark.parametrize("n", [1, 4])
def test_few_samples_have_index_without_plot(embedded, n):
    dataset, ids, _ = embedded(n)
    brain_runs.rebuild(dataset, ids)
    assert dataset.list_brain_runs() == [schema.SIMILARITY]
    assert brain_runs.is_current(dataset, ids)


def test_rebuild_without_samples(dataset, tmp_path):
    brain_runs.record_embedder(dataset, tmp_path, "m", FINGERPRINT)
    brain_runs.rebuild(dataset, [])
    assert dataset.list_brain_runs() == []
    assert brain_runs.is_current(dataset, [])


def test_current_means_exactly_these_samples(embedded):
    dataset, ids, _ = embedded(4)
    assert not brain_runs.is_current(dataset, ids)
    brain_runs.rebuild(dataset, ids[:3])
    assert not brain_runs.is_current(dataset, ids)
    brain_runs.rebuild(dataset, ids)
    assert brain_runs.is_current(dataset, ids)
    dataset.delete_brain_run(schema.SIMILARITY)
    assert not brain_runs.is_current(dataset, ids)


def test_other_embedder_deletes_brain_runs(embedded, tmp_path):
    dataset, ids, _ = embedded(4)
    brain_runs.rebuild(dataset, ids)
    brain_runs.record_embedder(dataset, tmp_path, "m", FINGERPRINT)
    assert dataset.has_brain_run(schema.SIMILARITY), "the same embedder keeps the brain runs"
    brain_runs.record_embedder(dataset, tmp_path, "m", "0" * 16)
    assert not dataset.has_brain_run(schema.SIMILARITY)
    assert not brain_runs.is_current(dataset, ids)
