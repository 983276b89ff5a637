"""DINOv2 and DINOv3: vectors match transformers and its processors."""

import json

import numpy as np
import pictures
import pytest
import tiny_dino
import torch
from transformers import AutoImageProcessor, AutoModel

from cascade import registry
from cascade.errors import CheckpointError
from cascade.protocols import Embedder, predict

CASES = pytest.mark.parametrize("name", tiny_dino.CASES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        name: case.write(tmp_path_factory.mktemp(name)) for name, case in tiny_dino.CASES.items()
    }


def vectors(model, images):
    return np.array([embedding.vector for embedding in predict(model, pictures.batch_of(images))])


@CASES
@pytest.mark.parametrize("source", pictures.SOURCES)
def test_pixels_match_official_processor(folders, name, source):
    images = source()
    model = registry.create("dino", folders[name])
    official = AutoImageProcessor.from_pretrained(folders[name])
    theirs = official(images=images, return_tensors="pt")["pixel_values"]
    ours = model.prepare(pictures.batch_of(images))["pixels"]
    std = torch.tensor(official.image_std).view(3, 1, 1)
    assert ours.shape == theirs.shape
    assert ((ours - theirs) * std).abs().max() <= 1 / 255 + 1e-6


@CASES
def test_vectors_match_transformers(folders, name):
    images = pictures.drawn()
    official = AutoImageProcessor.from_pretrained(folders[name])(images=images, return_tensors="pt")
    with torch.inference_mode():
        pooled = AutoModel.from_pretrained(folders[name])(**official).pooler_output
    theirs = torch.nn.functional.normalize(pooled, dim=1).numpy()
    actual = vectors(registry.create("dino", folders[name]), images)
    assert (actual * theirs).sum(1) == pytest.approx(1, abs=1e-3)
    assert (actual @ actual.T)[~np.eye(len(images), dtype=bool)].max() < 0.995  # vectors differ


@CASES
def test_batch_size_does_not_change_results(folders, name):
    model = registry.create("dino", folders[name])
    assert isinstance(model, Embedder)
    images = pictures.drawn()
    together = vectors(model, images)
    assert together.shape == (len(images), model.dimensions)
    for embedding, image in zip(together, images, strict=True):
        assert embedding == pytest.approx(vectors(model, [image])[0], abs=1e-5)
    assert predict(model, pictures.batch_of([])) == []


def test_half_precision_changes_little(folders):
    model = registry.create("dino", folders["dinov3_vit"])
    images = pictures.drawn()
    full = vectors(model, images)
    model.module.to(torch.bfloat16)
    assert (full * vectors(model, images)).sum(1) == pytest.approx(1, abs=1e-2)


def test_network_is_frozen(folders):
    module = registry.create("dino", folders["dinov2"]).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_other_family_is_refused(folders, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(CheckpointError, match="type 'clip'; the adapter 'dino' expects one of"):
        registry.create("dino", tmp_path)


def test_missing_source_is_refused():
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        registry.create("dino")
