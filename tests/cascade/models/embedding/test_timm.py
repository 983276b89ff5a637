"""timm: the features that timm computes from what its own transform prepares."""

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
    return np.array([one.vector for one in predict(model, pictures.batch_of(images))])


def officially(images, **data):
    transform = timm.data.create_transform(**data, is_training=False)
    return torch.stack([transform(Image.fromarray(one)) for one in images])


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
def test_sees_what_the_official_transform_prepares(source, changed):
    images, data = source(), tiny.DATA | changed
    if changed.get("interpolation") == "bicubic":
        # A tall image is resized by columns first in Pillow 13, by rows before, as in torch;
        # the overshoot that is cut off between the two passes then is another one.
        images = [one for one in images if one.shape[0] <= one.shape[1]]
        assert len(images) > 2
    view = view_of(data)
    ours = view.normalize(view.view(pictures.batch_of(images)))
    theirs = officially(images, **data)
    assert ours.shape == theirs.shape
    std = torch.tensor(data["std"]).view(3, 1, 1)
    assert ((ours - theirs) * std).abs().max() <= 1 / 255 + 1e-6


def test_the_preparation_is_the_checkpoints(folder):
    model, images = registry.create("timm", folder), pictures.drawn()
    ours = model.prepare(pictures.batch_of(images))["pixels"]
    std = torch.tensor(tiny.DATA["std"]).view(3, 1, 1)
    assert ((ours - officially(images, **tiny.DATA)) * std).abs().max() <= 1 / 255 + 1e-6


def test_embeds_as_timm_does(folder):
    images = pictures.drawn()
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        pooled = network.forward_head(
            network.forward_features(officially(images, **tiny.DATA)), pre_logits=True
        )
    theirs = torch.nn.functional.normalize(pooled, dim=1).numpy()
    found = vectors(registry.create("timm", folder), images)
    assert (found * theirs).sum(1) == pytest.approx(1, abs=1e-3)
    assert (found @ found.T)[~np.eye(len(images), dtype=bool)].max() < 0.995


def test_a_batch_is_its_images(folder):
    model = registry.create("timm", folder)
    assert isinstance(model, Embedder)
    images = pictures.drawn()
    together = vectors(model, images)
    assert together.shape == (len(images), model.dimensions)
    for one, image in zip(together, images, strict=True):
        assert one == pytest.approx(vectors(model, [image])[0], abs=1e-5)
    assert predict(model, pictures.batch_of([])) == []


def test_half_weights_change_little(folder):
    model, images = registry.create("timm", folder), pictures.drawn()
    whole = vectors(model, images)
    model.module.to(torch.bfloat16)
    assert (whole * vectors(model, images)).sum(1) == pytest.approx(1, abs=1e-2)


def test_a_pickle_is_not_taken_in_place_of_safetensors(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        registry.create("timm", tmp_path)


def test_damaged_weights_are_named(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="Cannot load a timm model"):
        registry.create("timm", tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"crop_mode": "border"}, {"interpolation": "lanczos"}, {"input_size": (1, 64, 64)}],
    ids=str,
)
def test_an_unknown_preparation_is_refused(changed):
    with pytest.raises(CheckpointError, match="must see 3 channels"):
        view_of(tiny.DATA | changed)


def test_the_image_is_resized_to_more_than_is_cut_out():
    assert view_of(tiny.DATA).size == (math.floor(64 / 0.9),) * 2
