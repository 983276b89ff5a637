"""Checkpoints of transformers: loading and error messages."""

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


def test_folder_of_family_is_accepted(folder):
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
def test_folder_of_other_model_is_refused(tmp_path, content, words):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=words):
        pretrained.check_folder(tmp_path, ("dinov2", "dinov3_vit"), adapter="dino")


def test_missing_folder_is_refused():
    with pytest.raises(CheckpointError, match="'dino' needs a checkpoint"):
        pretrained.check_folder(None, ("dinov2",), adapter="dino")


def test_network_is_frozen_and_float32(folder):
    tensors = load_file(folder / "model.safetensors")
    halved = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    network = pretrained.load_network(AutoModel, folder)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_missing_tensor_is_named_in_error(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing.* 'layernorm\.weight'"):
        pretrained.load_network(AutoModel, folder)


def test_weights_of_other_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 16}))
    with pytest.raises(CheckpointError, match="Cannot load the weights"):
        pretrained.load_network(AutoModel, folder)


def test_pickle_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="Cannot load the weights"):
        pretrained.load_network(AutoModel, folder)


def test_damaged_weights_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="Cannot load the weights"):
        pretrained.load_network(AutoModel, folder)
