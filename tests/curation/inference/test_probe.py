"""Probe on stored embeddings."""

import numpy as np
import pytest
from scipy.special import expit

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.fusion.probe import Probe
from curation.inference import probe
from curation.storage import schema
from curation.storage.embeddings.table import VectorTable

MANIFEST = "{name: test, members: [{name: eye, tier: embedding, adapter: mobilenet, license: MIT}]}"


class Dataset:
    """Stub of a dataset with its info only."""

    def __init__(self):
        self.info = {}
        self._dataset = self


@pytest.fixture
def ensemble():
    start = Ensemble.from_manifest(manifest.parse(MANIFEST))
    return start.with_probe(Probe(np.array([1.0, 0.0]), 0.0, start.fingerprint("eye"), 1.0))


@pytest.fixture
def dataset(ensemble, tmp_path):
    dataset_ = Dataset()
    fingerprint = ensemble.fingerprint("eye")
    dataset_.info[schema.EMBEDDER_INFO] = {"fingerprint": fingerprint, "folder": str(tmp_path)}
    table = VectorTable(tmp_path, fingerprint)
    table.add(["a", "b"], np.array([[0.6, 0.8], [-1, 0]], np.float32))
    return dataset_


def test_probabilities_follow_ids_and_are_nan_without_embedding(dataset, ensemble):
    p_yes = probe.p_yes(dataset, ["b", "new", "a"], ensemble)
    expected = [expit(-1), np.nan, expit(0.6)]
    assert p_yes["eye"] == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_new_embeddings_are_read(dataset, ensemble, tmp_path):
    probe.p_yes(dataset, ["a"], ensemble)
    table = VectorTable(tmp_path, ensemble.fingerprint("eye"))
    table.add(["a", "new"], np.array([[0, 1], [1, 0]], np.float32))
    assert probe.p_yes(dataset, ["a", "new"], ensemble)["eye"] == pytest.approx([0.5, expit(1)])


def test_no_probabilities_without_probe_or_its_embeddings(dataset, ensemble):
    assert probe.p_yes(dataset, ["a"], ensemble.with_probe(None)) == {}
    dataset.info[schema.EMBEDDER_INFO]["fingerprint"] = "of another"
    assert probe.p_yes(dataset, ["a"], ensemble) == {}
    assert probe.p_yes(Dataset(), ["a"], ensemble) == {}
