"""ONNX files: lookup, inputs, outputs and error messages."""

import numpy as np
import pytest

from cascade.errors import CascadeError, CheckpointError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
import onnx_protobuf as onnx
import tiny_onnx_embedding as tiny

from cascade.models.exported.onnx_file import OnnxFile


def open_image(folder, kind=onnx.FLOAT, shape=("N", 3, "H", "W")):
    """Return a file with an identity network."""
    path = folder / "model.onnx"
    nodes = [onnx.node("Identity", ["image"], ["same"])]
    path.write_bytes(onnx.model(nodes, {}, {"image": (kind, shape)}, {"same": (kind, shape)}))
    return OnnxFile(path)


def test_inputs_and_outputs_are_read_from_file(tmp_path):
    file = OnnxFile(tiny.write(tmp_path, images=2), threads=1)
    assert (file.inputs, file.outputs) == (("image",), ("map", "vector"))
    assert (file.batch_size, file.dtype) == (2, np.float32)
    assert open_image(tmp_path).batch_size is None


def test_all_or_requested_outputs_are_returned(tmp_path):
    file = OnnxFile(tiny.write(tmp_path))
    inputs = {"image": np.zeros((1, 3, tiny.SIZE, tiny.SIZE), np.float32)}
    assert file.run(inputs).keys() == {"map", "vector"}
    assert file.run(inputs, ("vector",))["vector"].shape == (1, tiny.DIMENSIONS)


def test_onnxruntime_error_is_translated(tmp_path):
    file = OnnxFile(tiny.write(tmp_path))
    with pytest.raises(CascadeError, match="onnxruntime cannot run"):
        file.run({"image": np.zeros((1, 3, 8, 8), np.float32)})


@pytest.mark.parametrize(("size", "expected"), [(None, 32), (32, 32)])
def test_side_is_read_from_file(tmp_path, size, expected):
    assert OnnxFile(tiny.write(tmp_path)).side(size) == expected


def test_dynamic_side_requires_size(tmp_path):
    assert open_image(tmp_path).side(48) == 48
    with pytest.raises(CheckpointError, match="set the parameter `size`"):
        open_image(tmp_path).side(None)


def test_input_that_is_not_square_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="must have a square input"):
        open_image(tmp_path, shape=(1, 3, 32, 64)).side(None)


def test_folder_with_no_or_several_files_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="found: none"):
        OnnxFile(tmp_path)
    tiny.write(tmp_path)
    assert OnnxFile(tmp_path).path == tmp_path / "model.onnx"
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"found: model\.onnx, other\.onnx"):
        OnnxFile(tmp_path)


def test_missing_file_is_refused():
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        OnnxFile(None)


def test_damaged_file_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="as an ONNX file"):
        OnnxFile(path)


@pytest.mark.parametrize(
    ("kind", "shape"), [(onnx.INT64, ("N", 3, 8, 8)), (onnx.FLOAT, ("N", 3))], ids=str
)
def test_file_without_image_input_is_refused(tmp_path, kind, shape):
    with pytest.raises(CheckpointError, match="the first input must be pixels"):
        open_image(tmp_path, kind, shape)
