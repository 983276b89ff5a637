"""Checkpoints: written atomically, identified by content, never a pickle."""

import pytest
import torch
from torch import nn

from cascade.checkpoints import checkpoint, sources
from cascade.errors import CheckpointError

CONFIG = {"adapter": "center_point", "classes": ["cone"], "size": 64}


def tensors(value=1.0):
    return {"a": torch.full((2, 3), value), "b.c": torch.arange(4)}


def saved(folder, *, config=CONFIG, value=1.0):
    checkpoint.save(folder, config, tensors(value))
    return folder


def test_save_and_load_round_trip(tmp_path):
    config, loaded = checkpoint.load(saved(tmp_path / "new" / "member"))
    assert config == CONFIG
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors().items())


def test_save_replaces_an_existing_checkpoint(tmp_path):
    saved(tmp_path / "member", value=1.0)
    saved(tmp_path / "member", value=2.0)
    assert checkpoint.load(tmp_path / "member")[1]["a"][0, 0] == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["member"]


def test_failed_save_keeps_the_existing_checkpoint(tmp_path):
    saved(tmp_path / "member")
    before = sources.fingerprint(tmp_path / "member")
    with pytest.raises(TypeError, match="not JSON serializable"):
        saved(tmp_path / "member", config={"classes": object()}, value=2.0)
    assert sources.fingerprint(tmp_path / "member") == before
    assert [path.name for path in tmp_path.iterdir()] == ["member"]


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"Cannot write the checkpoint .*file/member"):
        saved(tmp_path / "file" / "member")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("config.json", None, r"config\.json is missing", id="no config"),
        pytest.param("weights.safetensors", None, r"safetensors is missing", id="no weights"),
        pytest.param("config.json", b"{", "is damaged", id="truncated config"),
        pytest.param("config.json", b"[]", "must contain a JSON object", id="list"),
        pytest.param("weights.safetensors", b"\x80\x04junk", "is damaged", id="pickle"),
    ],
)
def test_broken_checkpoint_raises(tmp_path, name, content, message):
    folder = saved(tmp_path / "member")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"weight": None}, "'weight' is missing", id="absent"),
        pytest.param({"other": torch.zeros(1)}, "'other' does not belong", id="extra"),
        pytest.param({"bias": torch.zeros(3)}, r"shape \(2,\), got \(3,\)", id="other shape"),
    ],
)
def test_restore_requires_matching_tensors(change, message):
    tensors = checkpoint.state(nn.Linear(4, 2)) | change
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=f"here: .*{message}"):
        checkpoint.restore(nn.Linear(4, 2), tensors, origin="here")


def test_restore_copies_buffers():
    source, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    source(torch.randn(5, 3))
    checkpoint.restore(target, checkpoint.state(source), origin="here")
    assert torch.equal(target.running_mean, source.running_mean)
