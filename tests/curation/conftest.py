import shutil

import numpy as np
import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Return an MLflow database with its tables, which take seconds to create."""
    from curation.tracking import Registry

    path = tmp_path_factory.mktemp("mlflow") / "new" / "mlflow.db"
    assert Registry(f"sqlite:///{path}", path.parent).versions("demo") == []
    return path


@pytest.fixture
def tracking_uri(tmp_path, empty_store):
    """Return the URI of a new MLflow store, `home/mlflow.db` in the test's folder."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(empty_store, home)
    return f"sqlite:///{home / 'mlflow.db'}"


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory):
    """Return 70 rendered images of 8 drives: 34 of train, 17 of val, 19 of test."""
    from curation.demo.dataset import write_dataset

    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    return write_dataset(folder, n_drives_by_split={"train": 4, "val": 2, "test": 2}, seed=1)


@pytest.fixture(scope="session")
def ingested(scenes_folder, database, settings):
    """Return the scenes as a read-only dataset; labels of train are held back. See `scenes`."""
    import fiftyone as fo

    from cascade import taxonomy
    from curation.stages.ingest import ingest

    roadwork = taxonomy.load("roadwork_core")
    ingest(scenes_folder, name="ingested", taxonomy=roadwork, settings=settings, hold_back=True)
    return fo.load_dataset("ingested")


@pytest.fixture
def scenes(ingested):
    """Return a copy of the ingested scenes that a test may change."""
    made = ingested.clone()
    yield made
    made.delete()


@pytest.fixture(scope="session")
def center():
    """Return the packaged embedder and one packaged detector."""
    from cascade import manifest
    from cascade.ensemble import Ensemble

    text = """
        name: center
        members:
          - {name: mobilenet, tier: embedding, adapter: mobilenet, license: MIT, batch_size: 32}
          - {name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture(scope="session")
def deep(tmp_path_factory):
    """Return the packaged detector with a tiny depth network and a tiny SAM 2."""
    import tiny_depth_anything_2
    import tiny_sam2

    from cascade import manifest
    from cascade.ensemble import Ensemble

    depth, sam2 = tmp_path_factory.mktemp("depth"), tmp_path_factory.mktemp("sam2")
    tiny_depth_anything_2.CASES["depth_anything_2_metric"].write(depth)
    tiny_sam2.CASES["sam2"].write(sam2)
    text = f"""
        name: deep
        members:
          - {{name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", license: Apache-2.0}}
          - {{name: depth, tier: geometry, adapter: depth_anything_2, source: {depth},
             license: Apache-2.0}}
          - {{name: outlines, tier: segmentation, adapter: sam2, source: {sam2},
             license: Apache-2.0}}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture(scope="session")
def worn(center, tmp_path_factory):
    """Return `center` with a damaged detector; an epoch on a few images repairs it."""
    import torch

    from cascade.checkpoints import checkpoint

    config, tensors = checkpoint.load(center.checkpoints["tiny_center"])
    generator = torch.Generator().manual_seed(0)
    for tensor in tensors.values():
        if tensor.dim() > 1:
            tensor += 0.7 * tensor.std() * torch.randn(tensor.shape, generator=generator)
    folder = tmp_path_factory.mktemp("worn") / "tiny_center"
    checkpoint.save(folder, config, tensors)
    return center.with_checkpoints({"tiny_center": folder})


@pytest.fixture(scope="session")
def seen(ingested, center, settings):
    """Return the read-only scenes with predictions and vectors of `center`. See `predicted`."""
    import torch

    from cascade.engine.run import run
    from cascade.engine.sinks import MemorySink
    from curation.stages.predict import predict
    from curation.storage import collection
    from curation.storage.embeddings import brain_runs
    from curation.storage.embeddings.table import VectorTable

    made, cpu = ingested.clone("seen"), torch.device("cpu")
    predict(made, center, device=cpu)
    ids, paths = collection.ids_and_paths(made)
    memory, name = MemorySink(), center.embedder
    members = {name: center.manifest.member(name)}
    run({name: center.build(name, cpu)}, members, ids, paths, memory, device=cpu)
    folder, fingerprint = settings.vectors("seen"), center.fingerprint(name)
    vectors = [memory.results[i][name].vector for i in ids]
    VectorTable(folder, fingerprint).add(ids, np.array(vectors, np.float32))
    brain_runs.record_embedder(made, folder, name, fingerprint)
    return made


@pytest.fixture
def predicted(seen):
    """Return a copy of the predicted scenes that a test may change."""
    made = seen.clone()
    yield made
    made.delete()
