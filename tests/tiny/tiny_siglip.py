"""A tiny SigLIP 2 of fixed resolution and a tiny CLIP, of random weights."""

from __future__ import annotations

from pathlib import Path

import transformers
from tiny_case import Case, seeded
from tokenizers.pre_tokenizers import ByteLevel

SIZE = 32
LONGEST_TEXT = 64  # tokens: here, letters
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
_VISION = _TOWER | {"patch_size": 16, "image_size": SIZE}
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,▁"  # the last stands for a space


def write_siglip2(folder: Path) -> Path:
    """Write a SigLIP 2 into the folder."""
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    tokenizer = transformers.GemmaTokenizer(  # as on the hub: it leaves capital letters alone
        vocab={word: i for i, word in enumerate((*special, *_LETTERS))},
        merges=[],
        model_max_length=LONGEST_TEXT,
        add_bos_token=False,
        padding_side="right",
    )
    text = _TOWER | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LONGEST_TEXT,
        "projection_size": _TOWER["hidden_size"],
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = transformers.SiglipConfig(text_config=text, vision_config=_VISION)
    with seeded():
        transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipProcessor(
        transformers.SiglipImageProcessor(
            size={"height": SIZE, "width": SIZE}, resample=2, image_mean=[0.5] * 3
        ),
        tokenizer,
    ).save_pretrained(folder)
    return folder


def write_clip(folder: Path) -> Path:
    """Write a CLIP into the folder."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    text = _TOWER | {
        "vocab_size": len(words),
        "max_position_embeddings": LONGEST_TEXT,
        "bos_token_id": len(words) - 2,
        "eos_token_id": len(words) - 1,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24)
    with seeded():
        transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPProcessor(
        transformers.CLIPImageProcessor(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        ),
        transformers.CLIPTokenizer(
            vocab={word: i for i, word in enumerate(words)},
            merges=[],
            model_max_length=LONGEST_TEXT,
        ),
    ).save_pretrained(folder)
    return folder


CASES = {
    "siglip2": Case(adapter="siglip", write=write_siglip2, members=("siglip2_so400m",)),
    "clip": Case(adapter="siglip", write=write_clip),
}
