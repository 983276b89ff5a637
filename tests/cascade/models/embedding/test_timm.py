"""timm: features match timm and its transform."""

import math

import numpy as np
import pictures
import pytest
import torch
from PIL import Image

from cascade import registry
from cascade.errors import CheckpointError
from cascade.protocols import Embedder, predict

timm = pytest.importorskip("timm", reason="timm is not installed")
import tiny_timm_embedding as tiny  # noqa: E402

from cascade.models.embedding.timm import view_of  # noqa: E402

SQUASHED = {"crop_mode": "squash", "interpolation": "bilinear"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("timm"))


def vectors(model, images):
    return np.array([embedding.vector for embedding in predict(model, pictures.batch_of(images))])


def officially(images, **data):
    transform = timm.data.create_transform(**data, is_training=False)
    return torch.stack([transform(Image.fromarray(image)) for image in images])


@pytest.mark.parametrize("source", pictures.SOURCES)
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="bicubic, cropped to 0.9"),
        pytest.param({"crop_pct": 0.92, "interpolation": "bilinear"}, id="bilinear, to 0.92"),
        pytest.param(SQUASHED | {"crop_pct": 1.0}, id="squashed"),
        pytest.param(SQUASHED | {"input_size": (3, 48, 64)}, id="squashed and cropped"),
        pytest.param(SQUASHED | {"interpolation": "bicubic"}, id="squashed bicubic"),
    ],
)
def test_pixels_match_official_transform(source, changed):
    images, data = source(), tiny.DATA | changed
    if changed.get("interpolation") == "bicubic":
        # A tall image is resized by columns first in Pillow 13, by rows before, as in torch;
        # the overshoot that is cut off between the two passes then is another one.
        images = [image for image in images if image.shape[0] <= image.shape[1]]
        assert len(images) > 2
    view = view_of(data)
    ours = view.normalize(view.view(pictures.batch_of(images)))
    theirs = officially(images, **data)
    assert ours.shape == theirs.shape
    std = torch.tensor(data["std"]).view(3, 1, 1)
    assert ((ours - theirs) * std).abs().max() <= 1 / 255 + 1e-6


def test_preprocessing_comes_from_checkpoint(folder):
    model, images = registry.create("timm", folder), pictures.drawn()
    ours = model.prepare(pictures.batch_of(images))["pixels"]
    std = torch.tensor(tiny.DATA["std"]).view(3, 1, 1)
    assert ((ours - officially(images, **tiny.DATA)) * std).abs().max() <= 1 / 255 + 1e-6


def test_vectors_match_timm(folder):
    images = pictures.drawn()
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        pooled = network.forward_head(
            network.forward_features(officially(images, **tiny.DATA)), pre_logits=True
        )
    theirs = torch.nn.functional.normalize(pooled, dim=1).numpy()
    actual = vectors(registry.create("timm", folder), images)
    assert (actual * theirs).sum(1) == pytest.approx(1, abs=1e-3)
    assert (actual @ actual.T)[~np.eye(len(images), dtype=bool)].max() < 0.995


def test_batch_size_does_not_change_results(folder):
    model = registry.create("timm", folder)
    assert isinstance(model, Embedder)
    images = pictures.drawn()
    together = vectors(model, images)
    assert together.shape == (len(images), model.dimensions)
    for embedding, image in zip(together, images, strict=True):
        assert embedding == pytest.approx(vectors(model, [image])[0], abs=1e-5)
    assert predict(model, pictures.batch_of([])) == []


def test_half_precision_changes_little(folder):
    model, images = registry.create("timm", folder), pictures.drawn()
    full = vectors(model, images)
    model.module.to(torch.bfloat16)
    assert (full * vectors(model, images)).sum(1) == pytest.approx(1, abs=1e-2)


def test_pickle_without_safetensors_is_refused(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        registry.create("timm", tmp_path)


def test_damaged_weights_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="Cannot load a timm model"):
        registry.create("timm", tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"crop_mode": "border"}, {"interpolation": "lanczos"}, {"input_size": (1, 64, 64)}],
    ids=str,
)
def test_unsupported_preprocessing_is_refused(changed):
    with pytest.raises(CheckpointError, match="must see 3 channels"):
        view_of(tiny.DATA | changed)


def test_image_is_resized_beyond_crop():
    assert view_of(tiny.DATA).size == (math.floor(64 / 0.9),) * 2
