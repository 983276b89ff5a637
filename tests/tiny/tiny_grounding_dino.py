"""Tiny Grounding DINO and MM-Grounding-DINO (the family of LLMDet), of random weights."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import tiny_case
import transformers
from tiny_case import Case
from torch import nn

from cascade import taxonomy
from cascade.models.huggingface.prompts import prompts_of

_FIXED = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}  # BERT's ids
_TEXT = {
    "model_type": "bert",
    "vocab_size": 1100,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
_SWIN = {
    "model_type": "swin",
    "image_size": 64,
    "embed_dim": 16,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 2, 2],
    "window_size": 4,
    "out_features": ["stage2", "stage3", "stage4"],
}
_DETECTOR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 30,
    "num_feature_levels": 4,
}


def write(folder: Path, family: str = "GroundingDino", **config: Any) -> Path:
    """Write a checkpoint of `family` (`GroundingDino` or `MMGroundingDino`) into the folder."""
    of_family = getattr(transformers, f"{family}Config")
    made = of_family(backbone_config=_SWIN, text_config=_TEXT, **_DETECTOR | config)
    with tiny_case.seeded():
        network = getattr(transformers, f"{family}ForObjectDetection")(made)
        for name, parameter in network.named_parameters():
            if "bbox_embed" in name and parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)  # initially zero: boxes would ignore the image
            elif parameter.ndim > 1:
                parameter.data.mul_(2)  # initially, all queries of all images are equal
    network.save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(
        size={"shortest_edge": 96, "longest_edge": 160}
    )
    transformers.GroundingDinoProcessor(images, _tokenizer()).save_pretrained(folder)
    return folder


def _tokenizer() -> transformers.BertTokenizer:
    """Return a WordPiece tokenizer for the words of the packaged prompts, and letters."""
    vocabulary = {f"[unused{i}]": i for i in range(_TEXT["vocab_size"])}
    words = {word for prompt in prompts_of(taxonomy.load("roadwork")) for word in prompt.split()}
    letters = [f"##{letter}" for letter in string.ascii_lowercase]
    vocabulary_words = [*sorted(words - {"high-visibility"}), "high", "-", "visibility"]
    placed = _FIXED | {
        word: 200 + i
        for i, word in enumerate(
            dict.fromkeys([*vocabulary_words, *string.ascii_lowercase, *letters])
        )
    }
    used = set(placed.values())
    vocabulary = {word: i for word, i in vocabulary.items() if i not in used} | placed
    return transformers.BertTokenizer(
        vocab=dict(sorted(vocabulary.items(), key=lambda item: item[1])), model_max_length=512
    )


def _write_mm(folder: Path) -> Path:
    return write(folder, "MMGroundingDino")


CASES = {
    "grounding_dino": Case("grounding_dino", write, members=("grounding_dino_base",)),
    "mm_grounding_dino": Case(
        "grounding_dino", _write_mm, members=("mm_grounding_dino_l", "llmdet_l")
    ),
}
