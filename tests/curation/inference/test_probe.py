"""What the probe says of samples comes from their stored vectors."""

import numpy as np
import pytest
from scipy.special import expit

from cascade import manifest
from cascade.ensemble import Ensemble
from cascade.training.probe_fit import Probe
from curation.inference import probe
from curation.storage import schema
from curation.storage.embeddings.table import VectorTable

MANIFEST = "{name: test, members: [{name: eye, tier: embedding, adapter: mobilenet, license: MIT}]}"


class Dataset:
    """As much of a dataset as is asked: its notes."""

    def __init__(self):
        self.info = {}
        self._dataset = self


@pytest.fixture
def ensemble():
    start = Ensemble.from_manifest(manifest.parse(MANIFEST))
    return start.with_probe(Probe(np.array([1.0, 0.0]), 0.0, start.fingerprint("eye"), 1.0))


@pytest.fixture
def dataset(ensemble, tmp_path):
    made = Dataset()
    fingerprint = ensemble.fingerprint("eye")
    made.info[schema.EMBEDDER_INFO] = {"fingerprint": fingerprint, "folder": str(tmp_path)}
    table = VectorTable(tmp_path, fingerprint)
    table.add(["a", "b"], np.array([[0.6, 0.8], [-1, 0]], np.float32))
    return made


def test_it_answers_in_the_order_that_was_asked_and_abstains_without_a_vector(dataset, ensemble):
    said = probe.p_yes(dataset, ["b", "new", "a"], ensemble)
    expected = [expit(-1), np.nan, expit(0.6)]
    assert said["eye"] == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_a_vector_that_was_written_since_counts(dataset, ensemble, tmp_path):
    probe.p_yes(dataset, ["a"], ensemble)
    table = VectorTable(tmp_path, ensemble.fingerprint("eye"))
    table.add(["a", "new"], np.array([[0, 1], [1, 0]], np.float32))
    assert probe.p_yes(dataset, ["a", "new"], ensemble)["eye"] == pytest.approx([0.5, expit(1)])


def test_without_a_probe_or_with_anothers_vectors_nothing_is_said(dataset, ensemble):
    assert probe.p_yes(dataset, ["a"], ensemble.with_probe(None)) == {}
    dataset.info[schema.EMBEDDER_INFO]["fingerprint"] = "of another"
    assert probe.p_yes(dataset, ["a"], ensemble) == {}
    assert probe.p_yes(Dataset(), ["a"], ensemble) == {}
