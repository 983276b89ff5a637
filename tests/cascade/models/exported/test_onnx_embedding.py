"""ONNX embedders: a network that numpy can follow, written by hand."""

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
    return np.array([one.vector for one in predict(model, pictures.batch_of(images))])


def by_hand(batch):
    """The mean over 4 x 4 patches of what the kernel sees, cut off at 0, of length 1."""
    pixels = (batch.view(tiny.SIZE, tiny.SIZE).numpy() / 255 - 0.5) / 0.25
    cells = tiny.SIZE // tiny.STRIDE
    patches = pixels.reshape(-1, 3, cells, tiny.STRIDE, cells, tiny.STRIDE)
    seen = np.einsum("bcyixj,dcij->bdyx", patches, tiny.kernel())
    mean = np.maximum(seen, 0).mean((2, 3))
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


@pytest.mark.parametrize("images", ["N", 1, 2])
def test_computes_what_can_be_followed_by_hand(tmp_path, images):
    batch = pictures.batch_of(pictures.drawn())
    model = build(tmp_path, images=images)
    found = np.array([one.vector for one in predict(model, batch)])
    assert found == pytest.approx(by_hand(batch), abs=1e-5)
    assert (found @ found.T)[~np.eye(len(batch), dtype=bool)].max() < 0.999


@pytest.mark.parametrize("images", ["N", 2])
def test_a_batch_is_its_images(tmp_path, images):
    model = build(tmp_path, images=images)
    assert isinstance(model, Embedder)
    together = vectors(model, pictures.drawn())
    assert together.shape == (len(pictures.SIZES), model.dimensions) == (5, tiny.DIMENSIONS)
    for one, image in zip(together, pictures.drawn(), strict=True):
        assert one == pytest.approx(vectors(model, [image])[0], abs=1e-6)
    assert predict(model, pictures.batch_of([])) == []


def test_a_network_of_half_precision_is_given_its_own_numbers(tmp_path):
    batch = pictures.batch_of(pictures.drawn())
    found = [one.vector for one in predict(build(tmp_path, kind=onnx.FLOAT16), batch)]
    assert np.array(found) == pytest.approx(by_hand(batch), abs=5e-3)


def test_a_folder_with_one_file_will_do(tmp_path):
    path = tiny.write(tmp_path)
    model = registry.create("onnx_embedding", path.parent, output="vector")
    assert model.dimensions == tiny.DIMENSIONS


def test_one_of_several_outputs_must_be_named(tmp_path):
    with pytest.raises(CheckpointError, match="`output` must be one of map, vector, got None"):
        build(tmp_path, output=None)


def test_an_output_that_is_no_vector_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"shape \(B, D\), got \(1, 16, 4, 4\)"):
        build(tmp_path, output="map")


def test_another_size_than_the_files_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="`size` is 48"):
        build(tmp_path, size=48)
