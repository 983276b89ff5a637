"""Sources of weights: found, fetched or refused in words; recognised by their content."""

import pytest
import torch

from cascade.checkpoints import checkpoint, sources
from cascade.errors import CheckpointError

CONFIG = {"adapter": "center_point", "classes": ["cone"], "size": 64}


def saved(folder, *, config=CONFIG, value=1.0):
    checkpoint.save(folder, config, {"a": torch.full((2, 3), value)})
    return folder


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param({}, True, id="same content elsewhere"),
        pytest.param({"value": 1.5}, False, id="other weights"),
        pytest.param({"config": CONFIG | {"size": 96}}, False, id="other config"),
    ],
)
def test_fingerprints_follow_the_content(tmp_path, other, same):
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b", **other)
    assert (sources.fingerprint(first) == sources.fingerprint(second)) == same
    assert len(sources.fingerprint(first)) == 16


def test_a_file_has_a_fingerprint_too(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"weights")
    (tmp_path / "b.onnx").write_bytes(b"other weights")
    a, b = (sources.fingerprint(tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert a != b


def test_a_changed_file_is_noticed(tmp_path):
    file = tmp_path / "a.onnx"
    file.write_bytes(b"weights")
    before = sources.fingerprint(file)
    file.write_bytes(b"changed")
    assert sources.fingerprint(file) != before


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="the folder is empty"):
        sources.fingerprint(tmp_path)


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="'org/absent' are not on this machine"):
        sources.resolve("hub:org/absent", "0" * 40)


def test_a_release_is_checked_against_its_hash(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "cascade-curation").mkdir()
    file = tmp_path / "cascade-curation" / "yolo.pt"
    file.write_bytes(b"weights")
    assert sources.resolve("release:yolo.pt") == file
    with pytest.raises(CheckpointError, match="not what the manifest announces"):
        sources.resolve("release:yolo.pt", "0" * 64)


def test_no_source_is_no_folder():
    assert sources.resolve(None) is None


def test_a_path_is_itself(tmp_path):
    assert sources.resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("/no/such/folder", r"no checkpoint at /no/such/folder", id="path"),
        pytest.param("package:tiny_centre", "No weights are packaged as 'tiny_centre'", id="name"),
        pytest.param("package:../models", "No weights are packaged", id="outside the package"),
    ],
)
def test_an_absent_source_is_named(source, message):
    with pytest.raises(CheckpointError, match=message):
        sources.resolve(source)
