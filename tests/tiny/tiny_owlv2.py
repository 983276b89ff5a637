"""A tiny OWLv2 of random weights."""

from __future__ import annotations

from pathlib import Path

import tiny_case
import transformers
from tiny_case import Case
from tokenizers.pre_tokenizers import ByteLevel

_SIDE = 64
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
_LONGEST_TEXT = 64  # tokens: here, letters


def write(folder: Path) -> Path:
    """Write the checkpoint into the folder."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    config = transformers.Owlv2Config(
        text_config=_TOWER
        | {
            "vocab_size": len(vocabulary),
            "max_position_embeddings": _LONGEST_TEXT,
            "bos_token_id": len(vocabulary) - 2,
            "eos_token_id": len(vocabulary) - 1,
        },
        vision_config=_TOWER | {"patch_size": 8, "image_size": _SIDE},
        projection_dim=32,
    )
    with tiny_case.seeded():
        network = transformers.Owlv2ForObjectDetection(config)
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(
                    0.2 if "head" in name else 4
                )  # as drawn, all patches say the same
    network.save_pretrained(folder)
    tokenizer = transformers.CLIPTokenizer(
        vocab={word: i for i, word in enumerate(vocabulary)},
        merges=[],
        model_max_length=_LONGEST_TEXT,
    )
    images = transformers.Owlv2ImageProcessor(size={"height": _SIDE, "width": _SIDE})
    transformers.Owlv2Processor(images, tokenizer).save_pretrained(folder)
    return folder


CASES = {"owlv2": Case("owlv2", write, members=("owlv2_l",))}
