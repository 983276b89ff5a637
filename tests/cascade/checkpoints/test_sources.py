"""Sources of weights and their fingerprints."""

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
def test_fingerprint_depends_on_the_content(tmp_path, other, same):
    first, second = saved(tmp_path / "a"), saved(tmp_path / "b", **other)
    assert (sources.fingerprint(first) == sources.fingerprint(second)) == same
    assert len(sources.fingerprint(first)) == 16


def test_fingerprint_of_a_file(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"weights")
    (tmp_path / "b.onnx").write_bytes(b"other weights")
    a, b = (sources.fingerprint(tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert a != b


def test_fingerprint_of_a_changed_file(tmp_path):
    file = tmp_path / "a.onnx"
    file.write_bytes(b"weights")
    before = sources.fingerprint(file)
    file.write_bytes(b"changed")
    assert sources.fingerprint(file) != before


def test_fingerprint_of_an_empty_folder_raises(tmp_path):
    with pytest.raises(CheckpointError, match="the folder is empty"):
        sources.fingerprint(tmp_path)


def test_unreachable_hub_raises(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="'org/absent' are not on this machine"):
        sources.resolve("hub:org/absent", "0" * 40)


def test_release_with_another_hash_raises(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "cascade-curation").mkdir()
    file = tmp_path / "cascade-curation" / "yolo.pt"
    file.write_bytes(b"weights")
    assert sources.resolve("release:yolo.pt") == file
    with pytest.raises(CheckpointError, match="differs from the manifest"):
        sources.resolve("release:yolo.pt", "0" * 64)


def test_resolve_none():
    assert sources.resolve(None) is None


def test_resolve_path(tmp_path):
    assert sources.resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("/no/such/folder", r"find a checkpoint at /no/such/folder", id="path"),
        pytest.param("package:tiny_centre", "No packaged weights .* 'tiny_centre'", id="name"),
        pytest.param("package:../models", "No packaged weights", id="outside the package"),
    ],
)
def test_absent_source_raises(source, message):
    with pytest.raises(CheckpointError, match=message):
        sources.resolve(source)
