"""SigLIP 2 and CLIP: image and text vectors match transformers."""

import json

import numpy as np
import pictures
import pytest
import tiny_siglip
import torch
from transformers import AutoImageProcessor, AutoModel, AutoProcessor

from cascade import registry
from cascade.errors import CheckpointError
from cascade.protocols import Embedder, predict

CASES = pytest.mark.parametrize("name", tiny_siglip.CASES)
TEXTS = ["a traffic cone.", "two workers, no barrier"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        name: case.write(tmp_path_factory.mktemp(name)) for name, case in tiny_siglip.CASES.items()
    }


def vectors(model, images):
    return np.array([embedding.vector for embedding in predict(model, pictures.batch_of(images))])


@CASES
@pytest.mark.parametrize("source", pictures.SOURCES)
def test_pixels_match_official_processor(folders, name, source):
    images = source()
    model = registry.create("siglip", folders[name])
    official = AutoImageProcessor.from_pretrained(folders[name])
    theirs = official(images=images, return_tensors="pt")["pixel_values"]
    ours = model.prepare(pictures.batch_of(images))["pixels"]
    std = torch.tensor(official.image_std).view(3, 1, 1)
    assert ours.shape == theirs.shape
    assert ((ours - theirs) * std).abs().max() <= 1 / 255 + 1e-6


@CASES
def test_image_and_text_vectors_match_transformers(folders, name):
    images = pictures.drawn()
    processor = AutoProcessor.from_pretrained(folders[name])
    filled = {"padding": "max_length", "max_length": 64, "return_attention_mask": False}
    how = filled if name == "siglip2" else {"padding": True}
    inputs = processor(text=TEXTS, images=images, return_tensors="pt", **how)
    with torch.inference_mode():
        theirs = AutoModel.from_pretrained(folders[name])(**inputs)
    model = registry.create("siglip", folders[name])
    actual = vectors(model, images)
    assert (actual * theirs.image_embeds.numpy()).sum(1) == pytest.approx(1, abs=1e-3)
    assert (actual @ actual.T)[~np.eye(len(images), dtype=bool)].max() < 0.995
    text_vectors = model.embed_text(TEXTS)
    assert text_vectors.shape == (2, model.dimensions)
    assert torch.allclose(text_vectors, theirs.text_embeds, atol=1e-5)
    assert text_vectors[0] @ text_vectors[1] < 0.999


@CASES
def test_text_vectors_ignore_case_and_have_unit_length(folders, name):
    model = registry.create("siglip", folders[name])
    text_vectors = model.embed_text(["Traffic CONE", "traffic cone", "long " * 100])
    assert text_vectors.norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert torch.equal(text_vectors[0], text_vectors[1])
    assert torch.allclose(model.embed_text(["traffic cone"])[0], text_vectors[1], atol=1e-6)
    assert model.embed_text([]).shape == (0, model.dimensions)


@CASES
def test_batch_size_does_not_change_results(folders, name):
    model = registry.create("siglip", folders[name])
    assert isinstance(model, Embedder)
    images = pictures.drawn()
    together = vectors(model, images)
    assert together.shape == (len(images), model.dimensions)
    for embedding, image in zip(together, images, strict=True):
        assert embedding == pytest.approx(vectors(model, [image])[0], abs=1e-5)
    assert predict(model, pictures.batch_of([])) == []


def test_half_precision_embeds_texts(folders):
    model = registry.create("siglip", folders["siglip2"])
    full = model.embed_text(TEXTS)
    model.module.to(torch.bfloat16)
    half = model.embed_text(TEXTS)
    assert half.dtype == torch.float32
    assert (full * half).sum(1).tolist() == pytest.approx([1, 1], abs=1e-2)


def test_flexible_resolution_siglip2_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(CheckpointError, match="'siglip2'; the adapter 'siglip' expects one of"):
        registry.create("siglip", tmp_path)
