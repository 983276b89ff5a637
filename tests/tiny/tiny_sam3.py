"""A tiny SAM 3, written as the folder of the image model or of the published video model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_case import Case, seeded
from transformers import (
    CLIPTokenizer,
    Sam2VideoVideoProcessor,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3Processor,
    Sam3VideoProcessor,
)

SIDE = 112  # of the view, in 8 x 8 patches; a map has 32 x 32
_WIDTH = {"hidden_size": 32, "num_attention_heads": 2}
_PART = {**_WIDTH, "intermediate_size": 64}
_TOKENS = 96  # a letter each, in a vocabulary without merges


def _model() -> Sam3Model:
    trunk = {
        "model_type": "sam3_vit_model",
        **_PART,
        "num_hidden_layers": 2,
        "image_size": SIDE,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }
    text = {
        "model_type": "clip_text_model",
        **_PART,
        "vocab_size": 514,
        "num_hidden_layers": 1,
        "max_position_embeddings": _TOKENS,
        "projection_dim": 32,
        "bos_token_id": 512,
        "eos_token_id": 513,
    }
    config = Sam3Config(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": trunk,
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=text,
        geometry_encoder_config={**_PART, "num_layers": 1},
        detr_encoder_config={**_PART, "num_layers": 1},
        detr_decoder_config={**_PART, "num_layers": 2, "num_queries": 10},
        mask_decoder_config=_WIDTH,
    )
    with seeded():
        model = Sam3Model(config)
        _differ_boldly(model)
    return model


def _differ_boldly(model: Any) -> None:
    """Spread scores and logits, so that prompts and masks differ by more than rounding."""
    model.text_projection.weight.data.mul_(20)
    model.detr_decoder.query_embed.weight.data.normal_()
    model.dot_product_scoring.text_proj.weight.data.mul_(20)
    model.dot_product_scoring.query_proj.weight.data.mul_(20)
    model.mask_decoder.mask_embedder.layers[-1].weight.data.mul_(100)
    model.mask_decoder.instance_projection.weight.data.mul_(20)


def _tokenizer() -> CLIPTokenizer:
    """Return byte-level BPE without merges: every letter is a token."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [i for i in range(256) if i not in printable]
    letters = [chr(i) for i in printable] + [chr(256 + i) for i in range(len(others))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=_TOKENS
    )


def _image_processor() -> Sam3ImageProcessor:
    return Sam3ImageProcessor(
        size={"height": SIDE, "width": SIDE}, mask_size={"height": 32, "width": 32}
    )


def _write(folder: Path) -> Path:
    _model().save_pretrained(folder)
    Sam3Processor(_image_processor(), _tokenizer(), target_size=SIDE).save_pretrained(folder)
    return folder


def write_as_published(folder: Path) -> Path:
    """Write what the hub has: the video model, whose detector the image model is."""
    _model().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({"model_type": "sam3_video", "detector_config": config, "tracker_config": {}})
    )
    tensors = load_file(folder / "model.safetensors")
    published = {f"detector_model.{name}": tensor for name, tensor in tensors.items()}
    published["tracker_model.no_object_pointer"] = torch.zeros(1, 4)
    save_file(published, folder / "model.safetensors", metadata={"format": "pt"})
    videos = Sam2VideoVideoProcessor(size={"height": SIDE, "width": SIDE})
    Sam3VideoProcessor(_image_processor(), videos, _tokenizer(), target_size=SIDE).save_pretrained(
        folder
    )
    return folder


CASES = {"sam3": Case(adapter="sam3", write=_write, members=("sam3",))}
