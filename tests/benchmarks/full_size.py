"""Checkpoints of published size and random weights, for members of the packaged manifests.

A folder begins as the family's tiny checkpoint (tests/tiny), which has all that a hub repository
has; then the network and what its image processor says of sizes are replaced. Weights are kept in
bfloat16, which halves the files; adapters read them in the precision that they want.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tiny_depth_anything_2
import tiny_detr
import tiny_dino
import tiny_grounding_dino
import tiny_owlv2
import tiny_sam2
import tiny_sam3
import tiny_siglip
import tiny_ultralytics
import tiny_yoloe
import torch
import transformers
import yaml
from safetensors.torch import save_file
from tiny_case import seeded

from cascade import taxonomy
from cascade.models.depth import depth_anything_3
from cascade.models.huggingface.prompts import prompts_of
from cascade.models.ultralytics import network as ultralytics_network
from cascade.models.ultralytics import yoloe
from cascade.runtime.devices import default_device

_COCO = {i: f"class {i}" for i in range(80)}
_LABELS = {"id2label": _COCO, "label2id": {name: i for i, name in _COCO.items()}}
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def square(side: int) -> dict[str, int]:
    """Return a size as image processors want it."""
    return {"height": side, "width": side}


def _dinov3_l() -> Any:
    return transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            num_register_tokens=4,
        )
    )


def _dinov3_hplus() -> Any:
    return transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=20,
            num_register_tokens=4,
            use_gated_mlp=True,
            hidden_act="silu",
        )
    )


_VIT_L_14 = {
    "model_type": "dinov2",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 518,
    "patch_size": 14,
}


def _dinov2_l() -> Any:
    config = {key: one for key, one in _VIT_L_14.items() if key != "model_type"}
    return transformers.Dinov2Model(transformers.Dinov2Config(**config))


def _siglip2_so400m() -> Any:
    tower = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
    }
    text = {"vocab_size": 256_000, "max_position_embeddings": 64, "projection_size": 1152}
    return transformers.SiglipModel(
        transformers.SiglipConfig(
            text_config=tower | text, vision_config=tower | {"patch_size": 14, "image_size": 384}
        )
    )


def _rt_detr_v2_r50() -> Any:
    return transformers.RTDetrV2ForObjectDetection(transformers.RTDetrV2Config(**_LABELS))


_HGNET_B5 = tiny_detr.HGNET | {
    "embedding_size": 64,
    "stem_channels": [3, 32, 64],
    "hidden_sizes": [128, 512, 1024, 2048],
    "depths": [1, 2, 5, 2],
    "stage_in_channels": [64, 128, 512, 1024],
    "stage_mid_channels": [64, 128, 256, 512],
    "stage_out_channels": [128, 512, 1024, 2048],
    "stage_num_blocks": [1, 2, 5, 2],
    "stage_numb_of_layers": [6, 6, 6, 6],
    "stage_light_block": [False, False, True, True],
    "stage_kernel_size": [3, 3, 5, 5],
}


def _d_fine_x() -> Any:
    return transformers.DFineForObjectDetection(
        transformers.DFineConfig(
            backbone_config=_HGNET_B5,
            encoder_hidden_dim=384,
            encoder_ffn_dim=2048,
            decoder_in_channels=[384] * 3,
            reg_scale=8.0,
            **_LABELS,
        )
    )


def _d_fine_l() -> Any:
    return transformers.DFineForObjectDetection(transformers.DFineConfig(**_LABELS))


def _deimv2_l() -> Any:
    backbone = {
        "model_type": "dinov3_vit",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "num_register_tokens": 4,
        "patch_size": 16,
        "image_size": 640,
        "apply_layernorm": True,
        "reshape_hidden_states": True,
        "out_indices": [6, 9, 12],
    }
    return transformers.Deimv2ForObjectDetection(
        transformers.Deimv2Config(
            backbone_config=backbone,
            spatial_tuning_adapter_inplanes=32,
            encoder_in_channels=[224] * 3,
            encoder_hidden_dim=224,
            encoder_ffn_dim=896,
            encoder_has_trailing_conv=False,
            decoder_in_channels=[224] * 3,
            d_model=224,
            decoder_ffn_dim=1792,
            decoder_layers=4,
            decoder_n_points=[3, 6, 3],
            **_LABELS,
        )
    )


def _rf_detr(kind: str, *, side: int, patch: int, layers: int, queries: int) -> Any:
    backbone = {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": side,
        "patch_size": patch,
        "num_windows": 2,
        "out_indices": [3, 6, 9, 12],
    }
    config = transformers.RfDetrConfig(
        backbone_config=backbone, decoder_layers=layers, num_queries=queries, **_LABELS
    )
    return getattr(transformers, kind)(config)


def _rf_detr_l() -> Any:
    return _rf_detr("RfDetrForObjectDetection", side=704, patch=16, layers=4, queries=300)


def _rf_detr_seg_m() -> Any:
    return _rf_detr("RfDetrForInstanceSegmentation", side=432, patch=12, layers=5, queries=200)


def _swin(width: int, heads: list[int], stages: list[int]) -> dict[str, Any]:
    return {
        "model_type": "swin",
        "image_size": 384,
        "embed_dim": width,
        "depths": [2, 2, 18, 2],
        "num_heads": heads,
        "window_size": 12,
        "out_features": [f"stage{i}" for i in stages],
    }


def _grounding_dino_base() -> Any:
    return transformers.GroundingDinoForObjectDetection(
        transformers.GroundingDinoConfig(backbone_config=_swin(128, [4, 8, 16, 32], [2, 3, 4]))
    )


def _mm_grounding_dino_l() -> Any:
    return transformers.MMGroundingDinoForObjectDetection(
        transformers.MMGroundingDinoConfig(
            backbone_config=_swin(192, [6, 12, 24, 48], [1, 2, 3, 4]), num_feature_levels=5
        )
    )


def _owlv2_l() -> Any:
    text = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    }
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 1008,
    }
    return transformers.Owlv2ForObjectDetection(
        transformers.Owlv2Config(text_config=text, vision_config=vision, projection_dim=768)
    )


def _depth_anything_2(backbone: Mapping[str, Any], neck: list[int], fusion: int) -> Any:
    whole = dict(backbone) | {"apply_layernorm": True, "reshape_hidden_states": False}
    return transformers.DepthAnythingForDepthEstimation(
        transformers.DepthAnythingConfig(
            backbone_config=whole,
            reassemble_hidden_size=backbone["hidden_size"],
            neck_hidden_sizes=neck,
            fusion_hidden_size=fusion,
            depth_estimation_type="metric",
            max_depth=80,
        )
    )


def _depth_anything_2_l() -> Any:
    backbone = _VIT_L_14 | {"out_indices": [5, 12, 18, 24]}
    return _depth_anything_2(backbone, [256, 512, 1024, 1024], 256)


def _depth_anything_2_s() -> Any:
    small = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
    return _depth_anything_2(
        _VIT_L_14 | small | {"out_indices": [3, 6, 9, 12]}, [48, 96, 192, 384], 64
    )


def _sam3() -> Any:
    return transformers.Sam3Model(transformers.Sam3Config())


def _sam2_1_l() -> Any:
    trunk = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 144,
        "image_size": [1024, 1024],
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": trunk,
        "backbone_channel_list": [1152, 576, 288, 144],
    }
    return transformers.Sam2Model(transformers.Sam2Config(vision_config=vision))


def _enlarged(
    folder: Path,
    tiny: Callable[[Path], Any],
    build: Callable[[], Any],
    view: Mapping[str, Any],
    *,
    words: bool = False,
) -> Path:
    """Write a tiny checkpoint, then a large network over it."""
    tiny(folder)
    with seeded(), torch.device(default_device()):  # a GPU draws a billion numbers at once
        build().to(torch.bfloat16).save_pretrained(folder)
    _see(folder, view)
    if words:
        _know_words(folder)
    return folder


def _see(folder: Path, view: Mapping[str, Any]) -> None:
    """Set what the image processor says of sizes."""
    for name in _PROCESSORS:
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text())
            content.get("image_processor", content).update(view)
            (folder / name).write_text(json.dumps(content))


def _know_words(folder: Path) -> None:
    """Make every word of the prompts one token, as in the true vocabularies: here, letters are."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    words = {word for prompt in prompts_of(taxonomy.load("roadwork")) for word in prompt.split()}
    tokenizer.add_tokens(
        [transformers.AddedToken(word, single_word=True) for word in sorted(words)]
    )
    tokenizer.save_pretrained(folder)


def _detr(folder: Path, build: Callable[[], Any], side: int, kind: str = "RTDetr") -> Path:
    processor = getattr(transformers, f"{kind}ImageProcessor")(size=square(side))
    return tiny_detr.save(folder, lambda: build().to(torch.bfloat16), processor)


def _ultralytics_yaml(name: str) -> dict[str, Any]:
    import ultralytics

    file = Path(ultralytics.__file__).parent / "cfg" / "models" / name
    return yaml.safe_load(file.read_text()) | {"scale": "x"}


def _yolo(folder: Path, family: str) -> Path:
    """Write a file with the parts of a release's that are read."""
    build = ultralytics_network.detection_model()
    content = _ultralytics_yaml(f"{family}/yolo{family}.yaml")
    with seeded():
        model = build(content, ch=3, nc=len(_COCO), verbose=False)
        tiny_yoloe._settle(model)
        tiny_ultralytics._spread(model.eval())
    model.names = dict(_COCO)
    model.args = {"imgsz": 640}
    return tiny_yoloe.write_pt(model.half(), folder / f"yolo{family}x.pt")


def _open_yolo(folder: Path, name: str, family: str) -> Path:
    """Write such a file, and what `export` makes of it."""
    ultralytics_network.detection_model()  # imports ultralytics without traces
    from ultralytics.nn import tasks

    content = _ultralytics_yaml(name)
    with seeded():
        model = getattr(tasks, family)(content, ch=3, nc=content["nc"], verbose=False)
        for one in model.modules():
            if type(one).__name__ in tiny_yoloe._CONTRAST:
                one.bias.data.fill_(-5.5)  # as drawn, no score reaches the least that is kept
        tiny_yoloe._settle(model)
    pt = tiny_yoloe.write_pt(model.eval(), folder / "release.pt")
    prompts = prompts_of(taxonomy.load("roadwork"))
    made = folder / "exported"
    yoloe.export(pt, made, prompts=prompts, embeddings=tiny_yoloe.embeddings(len(prompts)))
    pt.unlink()
    return made


def _depth_anything_3_metric_l(folder: Path) -> Path:
    architecture = depth_anything_3.preset("da3metric-large", folder)
    with seeded():
        network = depth_anything_3.build_network(architecture, folder).to(torch.bfloat16)
    tensors = {f"model.{name}": one.contiguous() for name, one in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    config = {"model_name": "da3metric-large", "config": architecture}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


_SQUARE_518 = {"size": square(518), "keep_aspect_ratio": False, "ensure_multiple_of": 1}

_FITTED = {"size": {"shortest_edge": 800, "longest_edge": 1333}}


def _mm_grounding_dino(folder: Path) -> Path:
    tiny = tiny_grounding_dino.CASES["mm_grounding_dino"].write
    return _enlarged(folder, tiny, _mm_grounding_dino_l, _FITTED)


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "dinov3_hplus": lambda folder: _enlarged(
        folder, tiny_dino.CASES["dinov3_vit_hplus"].write, _dinov3_hplus, {"size": square(224)}
    ),
    "dinov2_l": lambda folder: _enlarged(
        folder,
        tiny_dino.CASES["dinov2"].write,
        _dinov2_l,
        {"size": {"shortest_edge": 256}, "crop_size": square(224)},
    ),
    "siglip2_so400m": lambda folder: _enlarged(
        folder, tiny_siglip.write_siglip2, _siglip2_so400m, {"size": square(384)}
    ),
    "yolo26x": lambda folder: _yolo(folder, "26"),
    "yolo11x": lambda folder: _yolo(folder, "11"),
    "rt_detr_v2_r50": lambda folder: _detr(folder, _rt_detr_v2_r50, 640),
    "d_fine_x": lambda folder: _detr(folder, _d_fine_x, 640),
    "d_fine_l": lambda folder: _detr(folder, _d_fine_l, 640),
    "deimv2_l": lambda folder: _detr(folder, _deimv2_l, 640),
    "rf_detr_l": lambda folder: _detr(folder, _rf_detr_l, 704, "RfDetr"),
    "grounding_dino_base": lambda folder: _enlarged(
        folder, tiny_grounding_dino.write, _grounding_dino_base, _FITTED
    ),
    "mm_grounding_dino_l": _mm_grounding_dino,
    "llmdet_l": _mm_grounding_dino,
    "owlv2_l": lambda folder: _enlarged(
        folder, tiny_owlv2.write, _owlv2_l, {"size": square(1008)}, words=True
    ),
    "yoloe_26x": lambda folder: _open_yolo(folder, "26/yoloe-26-seg.yaml", "YOLOESegModel"),
    "yolo_world_x": lambda folder: _open_yolo(folder, "v8/yolov8-worldv2.yaml", "WorldModel"),
    "depth_anything_3_metric_l": _depth_anything_3_metric_l,
    "depth_anything_2_metric_outdoor_l": lambda folder: _enlarged(
        folder,
        tiny_depth_anything_2.CASES["depth_anything_2_metric"].write,
        _depth_anything_2_l,
        {"size": square(518)},
    ),
    "depth_anything_2_metric_outdoor_s": lambda folder: _enlarged(
        folder,
        tiny_depth_anything_2.CASES["depth_anything_2_metric"].write,
        _depth_anything_2_s,
        {"size": square(518)},
    ),
    "sam3": lambda folder: _enlarged(
        folder,
        tiny_sam3.CASES["sam3"].write,
        _sam3,
        {"size": square(1008), "mask_size": square(288)},
        words=True,
    ),
    "sam2_1_l": lambda folder: _enlarged(
        folder,
        tiny_sam2.CASES["sam2"].write,
        _sam2_1_l,
        {"size": square(1024), "mask_size": square(256)},
    ),
    "rf_detr_seg": lambda folder: _detr(folder, _rf_detr_seg_m, 432, "RfDetr"),
    "dinov3_l": lambda folder: _enlarged(
        folder, tiny_dino.CASES["dinov3_vit"].write, _dinov3_l, {"size": square(224)}
    ),
    "depth_anything_2_l": lambda folder: _enlarged(
        folder,
        tiny_depth_anything_2.CASES["depth_anything_2_metric"].write,
        _depth_anything_2_l,
        _SQUARE_518,
    ),
}
"""By member: writes its checkpoint into an empty folder and returns what `source` would name."""
