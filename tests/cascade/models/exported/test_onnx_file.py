"""ONNX files: found, opened, and what is wrong with them said in words."""

import numpy as np
import pytest

from cascade.errors import CascadeError, CheckpointError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
import onnx_protobuf as onnx
import tiny_onnx_embedding as tiny

from cascade.models.exported.onnx_file import OnnxFile


def open_image(folder, kind=onnx.FLOAT, shape=("N", 3, "H", "W")):
    """A file that gives back what it takes."""
    path = folder / "model.onnx"
    nodes = [onnx.node("Identity", ["image"], ["same"])]
    path.write_bytes(onnx.model(nodes, {}, {"image": (kind, shape)}, {"same": (kind, shape)}))
    return OnnxFile(path)


def test_tells_what_the_file_takes_and_gives(tmp_path):
    file = OnnxFile(tiny.write(tmp_path, images=2), threads=1)
    assert (file.inputs, file.outputs) == (("image",), ("map", "vector"))
    assert (file.batch_size, file.dtype) == (2, np.float32)
    assert open_image(tmp_path).batch_size is None


def test_runs_all_outputs_or_those_that_are_asked_for(tmp_path):
    file = OnnxFile(tiny.write(tmp_path))
    given = {"image": np.zeros((1, 3, tiny.SIZE, tiny.SIZE), np.float32)}
    assert file.run(given).keys() == {"map", "vector"}
    assert file.run(given, ("vector",))["vector"].shape == (1, tiny.DIMENSIONS)


def test_what_onnxruntime_raises_becomes_ours(tmp_path):
    file = OnnxFile(tiny.write(tmp_path))
    with pytest.raises(CascadeError, match="onnxruntime cannot run"):
        file.run({"image": np.zeros((1, 3, 8, 8), np.float32)})


@pytest.mark.parametrize(("size", "expected"), [(None, 32), (32, 32)])
def test_the_side_is_the_files(tmp_path, size, expected):
    assert OnnxFile(tiny.write(tmp_path)).side(size) == expected


def test_the_side_must_be_said_where_the_file_leaves_it_open(tmp_path):
    assert open_image(tmp_path).side(48) == 48
    with pytest.raises(CheckpointError, match="set the parameter `size`"):
        open_image(tmp_path).side(None)


def test_a_file_that_is_no_square_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="must have a square input"):
        open_image(tmp_path, shape=(1, 3, 32, 64)).side(None)


def test_a_folder_must_hold_exactly_one(tmp_path):
    with pytest.raises(CheckpointError, match="found: none"):
        OnnxFile(tmp_path)
    tiny.write(tmp_path)
    assert OnnxFile(tmp_path).path == tmp_path / "model.onnx"
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"found: model\.onnx, other\.onnx"):
        OnnxFile(tmp_path)


def test_no_file_at_all_is_named():
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        OnnxFile(None)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="as an ONNX file"):
        OnnxFile(path)


@pytest.mark.parametrize(
    ("kind", "shape"), [(onnx.INT64, ("N", 3, 8, 8)), (onnx.FLOAT, ("N", 3))], ids=str
)
def test_a_file_that_takes_no_images_is_refused(tmp_path, kind, shape):
    with pytest.raises(CheckpointError, match="the first input must be pixels"):
        open_image(tmp_path, kind, shape)
