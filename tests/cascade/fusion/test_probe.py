import numpy as np
import pytest

from cascade.checkpoints import checkpoint
from cascade.errors import CheckpointError, TrainingError
from cascade.fusion.probe import Probe


@pytest.fixture
def probe():
    weights = np.random.default_rng(0).normal(size=8)
    return Probe(weights=weights, bias=0.3, embedder="abc", strength=0.1)


def test_probe_is_unchanged_after_saving(probe, tmp_path):
    vectors = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)
    probe.save(tmp_path / "probe")
    loaded = Probe.load(tmp_path / "probe", embedder="abc")
    assert (loaded.p_yes(vectors) == probe.p_yes(vectors)).all()
    assert loaded.strength == probe.strength
    assert loaded.identity == probe.identity
    assert not list((tmp_path / "probe").glob("*.pkl"))


def test_probe_of_other_embedder_or_adapter_is_rejected(probe, tmp_path):
    probe.save(tmp_path / "probe")
    with pytest.raises(CheckpointError, match="fitted on the embedder abc, not on other"):
        Probe.load(tmp_path / "probe", embedder="other")
    checkpoint.save(tmp_path / "foreign", {"adapter": "yolo"}, {})
    with pytest.raises(CheckpointError, match="must hold a probe, got a checkpoint of 'yolo'"):
        Probe.load(tmp_path / "foreign", embedder="abc")


def test_vectors_of_other_length_are_rejected(probe):
    with pytest.raises(TrainingError, match=r"shape \(n, 8\), got \(2, 3\)"):
        probe.p_yes(np.zeros((2, 3), np.float32))
