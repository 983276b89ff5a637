import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade.imaging import batches
from cascade.imaging.batches import Batch
from cascade.protocols import predict
from curation.stages.embed import embed
from curation.storage import collection, reader, schema
from curation.storage.embeddings import brain_runs

CPU = torch.device("cpu")


@pytest.fixture
def four(ingested):
    """Return four of the scenes as a dataset: too few for the picture, which takes its time."""
    made = ingested.limit(4).clone()
    yield made
    made.delete()


@pytest.fixture
def run(center, tmp_path):
    return lambda samples, **more: embed(
        samples, center, folder=tmp_path / "vectors", device=CPU, **more
    )


def test_every_sample_gets_vector(four, run, center):
    result = run(four)
    assert (result.embedder, result.added, result.skipped, result.failed) == ("mobilenet", 4, 0, 0)
    ids, paths = collection.ids_and_paths(four)
    batch = Batch(tuple(ids), tuple(batches.read(path) for path in paths))
    expected = [embedding.vector for embedding in predict(center.build("mobilenet", CPU), batch)]
    np.testing.assert_allclose(brain_runs.read_vectors(four, ids), np.array(expected), atol=1e-5)


def test_second_run_does_nothing(four, run):
    run(four)
    drawn = four.get_brain_info(schema.SIMILARITY).timestamp
    calls = []
    result = run(four, progress=lambda *at: calls.append(at))
    assert (result.added, result.skipped, result.umap) == (0, 4, False)
    assert four.get_brain_info(schema.SIMILARITY).timestamp == drawn
    assert calls == []


def test_only_new_samples_are_embedded_and_index_is_rebuilt(four, run, ingested):
    run(four.limit(3))
    assert four.load_brain_results(schema.SIMILARITY).total_index_size == 3
    result = run(four)
    assert (result.added, result.skipped) == (1, 3)
    assert four.load_brain_results(schema.SIMILARITY).total_index_size == 4


def test_lost_index_is_rebuilt_without_model(four, run):
    run(four)
    four.delete_brain_run(schema.SIMILARITY)
    result = run(four)
    assert (result.added, result.skipped) == (0, 4)
    assert four.load_brain_results(schema.SIMILARITY).total_index_size == 4


def test_interrupted_run_builds_index_of_stored_vectors(four, run, center, tmp_path):
    """A crash between the last vector and the index leaves an index of fewer samples."""
    run(four)
    ids, _ = collection.ids_and_paths(four)
    brain_runs.rebuild(four, ids[:2])
    assert run(four).added == 0
    assert four.load_brain_results(schema.SIMILARITY).total_index_size == 4


def test_umap_contains_every_sample_with_vector(ingested, run):
    five = ingested.limit(5).clone()
    assert run(five).umap
    assert five.load_brain_results(schema.UMAP).points.shape == (5, 2)
    five.delete_brain_run(schema.UMAP)
    again = run(five)
    assert (again.added, again.umap) == (0, True)
    five.delete()


def test_damaged_image_is_recorded_and_retried(four, run, tmp_path):
    sample = four.first()
    path = tmp_path / Path(sample.filepath).name
    content = Path(sample.filepath).read_bytes()
    path.write_bytes(content[:100])
    sample.filepath = str(path)
    sample.save()
    result = run(four)
    assert (result.added, result.failed) == (3, 1)
    (failure,) = reader.read_failures(four)
    assert (failure["sample"], failure["stage"], failure["member"], failure["error"]) == (
        sample.id, "embed", "mobilenet", "ImageError",
    )  # fmt: skip
    path.write_bytes(content)
    result = run(four)
    assert (result.added, result.skipped, result.failed) == (1, 3, 0)
    assert reader.read_failures(four) == []


def test_changed_embedder_gets_own_vectors(four, run, center, tmp_path):
    run(four)
    manifest = center.manifest
    half = tuple(member.model_copy(update={"precision": "bf16"}) for member in manifest.members)
    from dataclasses import replace

    other = replace(center, manifest=manifest.model_copy(update={"members": half}))
    result = embed(four, other, folder=tmp_path / "vectors", device=CPU)
    assert (result.added, result.skipped) == (4, 0)
    back = run(four)
    assert (back.added, back.skipped) == (0, 4)
    assert four.load_brain_results(schema.SIMILARITY).total_index_size == 4


def test_vectors_survive_loss_of_dataset_info(four, run, tmp_path):
    run(four)
    del four.info[schema.EMBEDDER_INFO]
    four.save()
    assert run(four).added == 0
    assert len(brain_runs.read_vectors(four, four.values("id"))) == 4
    shutil.rmtree(tmp_path / "vectors")
    assert run(four).added == 4
