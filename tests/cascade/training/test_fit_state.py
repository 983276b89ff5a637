import pytest
import torch

from cascade.errors import TrainingError
from cascade.training import fit_state
from cascade.training.fit_state import Standing

RECORD = {"identity": "me", "train_loss": [0.1, 1 / 3]}
TENSORS = {"now.a": torch.rand(3), "best.a": torch.rand(3), "optimiser.0.step": torch.tensor(4.0)}


def test_what_was_saved_is_what_is_loaded(tmp_path):
    path = tmp_path / "new" / "standing.safetensors"
    fit_state.save(path, RECORD, TENSORS)
    found = fit_state.load(path, identity="me")
    assert isinstance(found, Standing)
    assert found.record == RECORD
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], one) for name, one in TENSORS.items())
    assert list(fit_state.part(found.tensors, "best.")) == ["a"]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_weights_that_share_memory_can_be_saved(tmp_path):
    one = torch.rand(4)
    fit_state.save(tmp_path / "a", RECORD, {"x": one, "y": one, "z": one[:2]})
    assert len(fit_state.load(tmp_path / "a", identity="me").tensors) == 3


def test_nothing_anothers_and_what_is_damaged_mean_a_new_start(tmp_path, caplog):
    path = tmp_path / "standing.safetensors"
    assert fit_state.load(path, identity="me") is None
    fit_state.save(path, RECORD, TENSORS)
    assert fit_state.load(path, identity="you") is None
    assert not caplog.text
    path.write_bytes(path.read_bytes()[:50])
    assert fit_state.load(path, identity="me") is None
    assert "is damaged" in caplog.text


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot be written to .*file"):
        fit_state.save(tmp_path / "file" / "standing", RECORD, TENSORS)
