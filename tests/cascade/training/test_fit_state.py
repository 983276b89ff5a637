import pytest
import torch

from cascade.errors import TrainingError
from cascade.training import fit_state
from cascade.training.fit_state import FitState

RECORD = {"identity": "me", "train_loss": [0.1, 1 / 3]}
TENSORS = {"now.a": torch.rand(3), "best.a": torch.rand(3), "optimiser.0.step": torch.tensor(4.0)}


def test_state_round_trips(tmp_path):
    path = tmp_path / "new" / "standing.safetensors"
    fit_state.save(path, RECORD, TENSORS)
    state = fit_state.load(path, identity="me")
    assert isinstance(state, FitState)
    assert state.record == RECORD
    assert state.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert list(fit_state.select_prefix(state.tensors, "best.")) == ["a"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_tensors_that_share_memory_are_saved(tmp_path):
    shared = torch.rand(4)
    fit_state.save(tmp_path / "a", RECORD, {"x": shared, "y": shared, "z": shared[:2]})
    assert len(fit_state.load(tmp_path / "a", identity="me").tensors) == 3


def test_missing_foreign_or_damaged_state_is_ignored(tmp_path, caplog):
    path = tmp_path / "standing.safetensors"
    assert fit_state.load(path, identity="me") is None
    fit_state.save(path, RECORD, TENSORS)
    assert fit_state.load(path, identity="you") is None
    assert not caplog.text
    path.write_bytes(path.read_bytes()[:50])
    assert fit_state.load(path, identity="me") is None
    assert "is damaged" in caplog.text


def test_unwritable_path_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"Cannot write the state of the fit to .*file"):
        fit_state.save(tmp_path / "file" / "standing", RECORD, TENSORS)
