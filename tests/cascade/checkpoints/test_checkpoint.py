"""Checkpoints: whole or not at all, recognised by their content, never a pickle."""

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


def test_what_is_saved_is_loaded(tmp_path):
    config, loaded = checkpoint.load(saved(tmp_path / "new" / "member"))
    assert config == CONFIG
    assert all(torch.equal(loaded[name], one) for name, one in tensors().items())


def test_an_older_checkpoint_is_replaced_and_nothing_stays_behind(tmp_path):
    saved(tmp_path / "member", value=1.0)
    saved(tmp_path / "member", value=2.0)
    assert checkpoint.load(tmp_path / "member")[1]["a"][0, 0] == 2.0
    assert [one.name for one in tmp_path.iterdir()] == ["member"]


def test_a_failure_leaves_the_older_one_whole(tmp_path):
    saved(tmp_path / "member")
    before = sources.fingerprint(tmp_path / "member")
    with pytest.raises(TypeError, match="not JSON serializable"):
        saved(tmp_path / "member", config={"classes": object()}, value=2.0)
    assert sources.fingerprint(tmp_path / "member") == before
    assert [one.name for one in tmp_path.iterdir()] == ["member"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file/member cannot be written"):
        saved(tmp_path / "file" / "member")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("config.json", None, r"config\.json is missing", id="no config"),
        pytest.param("weights.safetensors", None, r"safetensors is missing", id="no weights"),
        pytest.param("config.json", b"{", "is damaged", id="half a config"),
        pytest.param("config.json", b"[]", "must hold a JSON object", id="a list"),
        pytest.param("weights.safetensors", b"\x80\x04junk", "is damaged", id="a pickle"),
    ],
)
def test_a_broken_checkpoint_says_what_is_wrong(tmp_path, name, content, message):
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
        pytest.param({"other": torch.zeros(1)}, "'other' is not of this architecture", id="extra"),
        pytest.param({"bias": torch.zeros(3)}, r"shape \(2,\), got \(3,\)", id="other shape"),
    ],
)
def test_tensors_must_fit_one_to_one(change, message):
    given = checkpoint.state(nn.Linear(4, 2)) | change
    given = {name: one for name, one in given.items() if one is not None}
    with pytest.raises(CheckpointError, match=f"here: .*{message}"):
        checkpoint.restore(nn.Linear(4, 2), given, origin="here")


def test_restored_tensors_are_equal():
    source, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    source(torch.randn(5, 3))
    checkpoint.restore(target, checkpoint.state(source), origin="here")
    assert torch.equal(target.running_mean, source.running_mean)
