import shutil

import numpy as np
import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Return a file with MLflow's tables, which take seconds to make."""
    from curation.tracking import Registry

    path = tmp_path_factory.mktemp("mlflow") / "new" / "mlflow.db"
    assert Registry(f"sqlite:///{path}", path.parent).versions("demo") == []
    return path


@pytest.fixture
def tracking_uri(tmp_path, empty_store):
    """Return the address of a store of the test's own, `home/mlflow.db` in its folder."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(empty_store, home)
    return f"sqlite:///{home / 'mlflow.db'}"


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory):
    """Return 70 rendered images of 8 drives: 34 to train on, 17 of val, 19 of test."""
    from curation.demo.dataset import write_dataset

    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    return write_dataset(folder, n_drives_by_split={"train": 4, "val": 2, "test": 2}, seed=1)


@pytest.fixture(scope="session")
def ingested(scenes_folder, database, settings):
    """Return those scenes as a dataset, train being the oracle's. To look at: see `scenes`."""
    import fiftyone as fo

    from cascade import taxonomy
    from curation.stages.ingest import ingest

    roadwork = taxonomy.load("roadwork_core")
    ingest(scenes_folder, name="ingested", taxonomy=roadwork, settings=settings, hold_back=True)
    return fo.load_dataset("ingested")


@pytest.fixture
def scenes(ingested):
    """Return a copy of the ingested scenes, to change."""
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
          - {name: mobilenet, tier: embedding, adapter: mobilenet, licence: MIT, batch_size: 32}
          - {name: tiny_center, tier: detection, adapter: center_point,
             source: "package:tiny_center", licence: Apache-2.0}
        """
    return Ensemble.from_manifest(manifest.parse(text))


@pytest.fixture(scope="session")
def worn(center, tmp_path_factory):
    """Return `center` with a detector that forgot much: an epoch on a few images mends it."""
    import torch

    from cascade.checkpoints import checkpoint

    config, tensors = checkpoint.load(center.checkpoints["tiny_center"])
    generator = torch.Generator().manual_seed(0)
    for one in tensors.values():
        if one.dim() > 1:
            one += 0.7 * one.std() * torch.randn(one.shape, generator=generator)
    folder = tmp_path_factory.mktemp("worn") / "tiny_center"
    checkpoint.save(folder, config, tensors)
    return center.with_checkpoints({"tiny_center": folder})


@pytest.fixture(scope="session")
def seen(ingested, center, settings):
    """Return the scenes with predictions and vectors of `center`. To look at: see `predicted`."""
    import torch

    from cascade.engine.run import Memory, run
    from curation.stages.predict import predict
    from curation.storage import collection
    from curation.storage.embeddings import brain_runs
    from curation.storage.embeddings.table import Vectors

    made, cpu = ingested.clone("seen"), torch.device("cpu")
    predict(made, center, device=cpu)
    ids, paths = collection.ids_and_paths(made)
    memory, name = Memory(), center.embedder
    members = {name: center.manifest.member(name)}
    run({name: center.build(name, cpu)}, members, ids, paths, memory, device=cpu)
    folder, fingerprint = settings.vectors("seen"), center.fingerprint(name)
    found = [memory.results[one][name].vector for one in ids]
    Vectors(folder, fingerprint).add(ids, np.array(found, np.float32))
    brain_runs.remember_embedder(made, folder, name, fingerprint)
    return made


@pytest.fixture
def predicted(seen):
    """Return a copy of the scenes with predictions and vectors, to change."""
    made = seen.clone()
    yield made
    made.delete()
