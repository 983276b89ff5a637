import pytest

from cascade.errors import CheckpointError
from cascade.models.exported.files import exported_file


def find(checkpoint):
    return exported_file(checkpoint, ".onnx", kind="An ONNX model")


def test_path_of_file_and_of_folder_with_one_file(tmp_path):
    file = tmp_path / "deep" / "a.onnx"
    file.parent.mkdir()
    file.touch()
    (tmp_path / "README.md").touch()
    assert find(file) == find(tmp_path) == file


def test_no_file_and_several_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"`\*\.onnx`.*found: none"):
        find(tmp_path)
    for name in ("b.onnx", "a.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"found: a\.onnx, b\.onnx"):
        find(tmp_path)


def test_missing_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="An ONNX model needs a checkpoint"):
        find(None)
