"""Write a tiny Qwen3-VL with random weights: `python tools/tiny_vlm.py OUTDIR`.

The folder has the files of the real family (tokenizer, chat template, processor, safetensors) in
2 MB; the answers are random. It serves to test clients and servers without downloads. Run it with
the Python of the environment that serves it (`tools/vllm_cpu.sh`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

END, PADDING = "<|im_end|>", "<|endoftext|>"
IMAGE, VIDEO, VISION_START, VISION_END = (
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
)
SPECIAL = [PADDING, "<|im_start|>", END, VISION_START, VISION_END, IMAGE, VIDEO]
CONTEXT = 8192
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content -%}
{%- if part.type in ('image', 'image_url') -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
SENTENCES = [
    '{"answer": "yes", "objects": ["cone", "drum", "worker"], "reason": "There are cones."}',
    '{"answer": "no", "objects": [], "reason": "The road is free and nothing stands on it."}',
    "Does this image show road work? The detectors say: 2 cone at left (0.83).",
]


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer that knows the words of our questions and answers."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(SENTENCES * 10, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token=END,
        pad_token=PADDING,
        additional_special_tokens=SPECIAL,
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
    )
    made.image_token, made.video_token = IMAGE, VIDEO
    return made


def processor(words: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    """Return the processor: patches of 16 pixels, merged two by two, at most 64 an image."""
    patches = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            **patches, size={"shortest_edge": 32 * 32, "longest_edge": 256 * 256}
        ),
        video_processor=Qwen3VLVideoProcessor(**patches),
        tokenizer=words,
        chat_template=TEMPLATE,
    )


def model(words: PreTrainedTokenizerFast, seed: int) -> Qwen3VLForConditionalGeneration:
    """Return two layers of language and two of vision, in bfloat16."""
    number = dict(zip(SPECIAL, words.convert_tokens_to_ids(SPECIAL), strict=True))
    width = 128
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": width,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": CONTEXT,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "bos_token_id": number[PADDING],
            "eos_token_id": number[END],
            "pad_token_id": number[PADDING],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "num_heads": 2,
            "intermediate_size": 128,
            "out_hidden_size": width,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0],
        },
        tie_word_embeddings=True,
        image_token_id=number[IMAGE],
        video_token_id=number[VIDEO],
        vision_start_token_id=number[VISION_START],
        vision_end_token_id=number[VISION_END],
    )
    torch.manual_seed(seed)
    made = Qwen3VLForConditionalGeneration(config).to(torch.bfloat16).eval()
    made.generation_config.eos_token_id = number[END]
    made.generation_config.pad_token_id = number[PADDING]
    return made


def write(folder: Path, *, seed: int = 0) -> Path:
    """Write the checkpoint into `folder` and return it."""
    words = tokenizer()
    model(words, seed).save_pretrained(folder)
    processor(words).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    write(arguments.parse_args().folder)
