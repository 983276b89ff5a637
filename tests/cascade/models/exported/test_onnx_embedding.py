"""ONNX embedders: a handwritten network, checked with numpy."""

import numpy as np
import pictures
import pytest

from cascade import registry
from cascade.errors import CheckpointError
from cascade.protocols import Embedder, predict

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
import onnx_protobuf as onnx
import tiny_onnx_embedding as tiny


def build(folder, *, images="N", kind=onnx.FLOAT, **params):
    path = tiny.write(folder, images=images, kind=kind)
    return registry.create("onnx_embedding", path, **tiny._PARAMS | params)


def vectors(model, images):
    return np.array([embedding.vector for embedding in predict(model, pictures.batch_of(images))])


def by_hand(batch):
    """The mean over 4 x 4 patches of what the kernel sees, cut off at 0, of length 1."""
    pixels = (batch.view(tiny.SIZE, tiny.SIZE).numpy() / 255 - 0.5) / 0.25
    cells = tiny.SIZE // tiny.STRIDE
    patches = pixels.reshape(-1, 3, cells, tiny.STRIDE, cells, tiny.STRIDE)
    seen = np.einsum("bcyixj,dcij->bdyx", patches, tiny.kernel())
    mean = np.maximum(seen, 0).mean((2, 3))
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


@pytest.mark.parametrize("images", ["N", 1, 2])
def test_vectors_by_hand(tmp_path, images):
    batch = pictures.batch_of(pictures.drawn())
    model = build(tmp_path, images=images)
    actual = np.array([embedding.vector for embedding in predict(model, batch)])
    assert actual == pytest.approx(by_hand(batch), abs=1e-5)
    assert (actual @ actual.T)[~np.eye(len(batch), dtype=bool)].max() < 0.999


@pytest.mark.parametrize("images", ["N", 2])
def test_batch_size_does_not_change_results(tmp_path, images):
    model = build(tmp_path, images=images)
    assert isinstance(model, Embedder)
    together = vectors(model, pictures.drawn())
    assert together.shape == (len(pictures.SIZES), model.dimensions) == (5, tiny.DIMENSIONS)
    for item, image in zip(together, pictures.drawn(), strict=True):
        assert item == pytest.approx(vectors(model, [image])[0], abs=1e-6)
    assert predict(model, pictures.batch_of([])) == []


def test_half_precision_network_gets_half_precision_input(tmp_path):
    batch = pictures.batch_of(pictures.drawn())
    actual = [embedding.vector for embedding in predict(build(tmp_path, kind=onnx.FLOAT16), batch)]
    assert np.array(actual) == pytest.approx(by_hand(batch), abs=5e-3)


def test_folder_with_one_file_is_accepted(tmp_path):
    path = tiny.write(tmp_path)
    model = registry.create("onnx_embedding", path.parent, output="vector")
    assert model.dimensions == tiny.DIMENSIONS


def test_several_outputs_require_name(tmp_path):
    with pytest.raises(CheckpointError, match="`output` must be one of map, vector, got None"):
        build(tmp_path, output=None)


def test_output_that_is_not_vector_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"shape \(B, D\), got \(1, 16, 4, 4\)"):
        build(tmp_path, output="map")


def test_size_other_than_fixed_one_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="`size` is 48"):
        build(tmp_path, size=48)
