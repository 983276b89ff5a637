"""A tiny SAM 2.1, written as the folder of the image model or of the published video model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_case import Case, seeded
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
)

SIDE = 128  # of the view; a map has a quarter of it


def _config(width: int) -> dict[str, Any]:
    trunk = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],  # global attention may not open a stage
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    return {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": trunk,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": width,
        },
        "prompt_encoder_config": {
            "hidden_size": width,
            "image_size": SIDE,
            "mask_input_channels": 8,
        },
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    }


def _image_processor() -> Sam2ImageProcessor:
    return Sam2ImageProcessor(
        size={"height": SIDE, "width": SIDE}, mask_size={"height": SIDE // 4, "width": SIDE // 4}
    )


def _write(folder: Path) -> Path:
    with seeded():
        model = Sam2Model(Sam2Config(**_config(32)))
        _draw_boldly(model)
    model.save_pretrained(folder)
    Sam2Processor(_image_processor()).save_pretrained(folder)
    return folder


def write_as_published(folder: Path) -> Path:
    """Write the published video model, which contains the image model."""
    memory = {
        "image_size": SIDE,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": 128,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 64,
        "memory_fuser_num_layers": 1,
    }
    with seeded():
        model = Sam2VideoModel(Sam2VideoConfig(**_config(128), **memory))
        _draw_boldly(model)
    model.save_pretrained(folder)
    videos = Sam2VideoVideoProcessor(size={"height": SIDE, "width": SIDE})
    Sam2VideoProcessor(_image_processor(), videos).save_pretrained(folder)
    return folder


def _draw_boldly(model: Any) -> None:
    """Spread logits and scores to make boxes differ by more than rounding."""
    decoder = model.mask_decoder
    for head in (*decoder.output_hypernetworks_mlps, decoder.iou_prediction_head):
        head.proj_in.weight.data.mul_(30)
        head.proj_out.weight.data.mul_(30)


CASES = {"sam2": Case(adapter="sam2", write=_write, members=("sam2_1_l",))}
