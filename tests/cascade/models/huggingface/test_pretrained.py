"""Checkpoints of transformers: what is wrong with a folder is said in words."""

import json

import pytest
import tiny_dino
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from cascade.errors import CheckpointError
from cascade.models.huggingface import pretrained


@pytest.fixture
def folder(tmp_path):
    return tiny_dino.CASES["dinov2"].write(tmp_path)


def test_a_folder_of_the_family_is_taken(folder):
    assert pretrained.check_folder(folder, ("dinov2", "other"), adapter="dino") == folder


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "config.json is missing"),
        ("{", "is damaged"),
        ("[]", "a model of the type None; the adapter 'dino' expects one of dinov2, dinov3_vit"),
        ('{"model_type": "clip"}', "a model of the type 'clip'"),
    ],
)
def test_another_folder_is_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=words):
        pretrained.check_folder(tmp_path, ("dinov2", "dinov3_vit"), adapter="dino")


def test_no_folder_at_all_is_named():
    with pytest.raises(CheckpointError, match="'dino' needs a checkpoint"):
        pretrained.check_folder(None, ("dinov2",), adapter="dino")


def test_the_network_is_frozen_and_in_single_precision(folder):
    tensors = load_file(folder / "model.safetensors")
    halved = {name: one.bfloat16() for name, one in tensors.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    network = pretrained.load_network(AutoModel, folder)
    assert {one.dtype for one in network.parameters()} == {torch.float32}
    assert not network.training
    assert not any(one.requires_grad for one in network.parameters())


def test_a_tensor_that_is_missing_is_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing.* 'layernorm\.weight'"):
        pretrained.load_network(AutoModel, folder)


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 16}))
    with pytest.raises(CheckpointError, match="Cannot load the weights"):
        pretrained.load_network(AutoModel, folder)


def test_a_pickle_is_never_read(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="Cannot load the weights"):
        pretrained.load_network(AutoModel, folder)


def test_damaged_weights_are_named(folder):
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="Cannot load the weights"):
        pretrained.load_network(AutoModel, folder)
