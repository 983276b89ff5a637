"""Small detection transformers that have learned something: a few rendered scenes, by heart.

What random weights find changes altogether with one grey level, so they cannot tell a rounding
that matters from one that does not. Weights that have learned anything can, and to learn eight
scenes takes a CPU a few minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import transformers
from tiny_case import seeded, settle_norms
from tiny_detr import HGNET, RESNET
from torch import nn

from cascade import registry
from cascade.predictions import Detections
from cascade.training.augmentation.augment import NO_EFFECTS
from cascade.training.examples import Example
from cascade.training.fit import fit
from curation.demo import CLASSES, drive_scenes

logger = logging.getLogger("bench_agreement")

SIDE, RATE = 320, 4e-4
_NAMES = dict(enumerate(CLASSES))
_LABELS = {"id2label": _NAMES, "label2id": {name: i for i, name in _NAMES.items()}}
_RESNET = RESNET | {
    "embedding_size": 64,
    "hidden_sizes": [64, 128, 256, 512],
    "depths": [2, 2, 2, 2],
}
_HGNET = HGNET | {
    "embedding_size": 32,
    "stem_channels": [3, 16, 32],
    "hidden_sizes": [64, 128, 256, 512],
    "stage_in_channels": [32, 64, 128, 256],
    "stage_mid_channels": [32, 32, 64, 128],
    "stage_out_channels": [64, 128, 256, 512],
    "stage_numb_of_layers": [3, 3, 3, 3],
}
_DETR = {
    "encoder_in_channels": [128, 256, 512],
    "encoder_hidden_dim": 128,
    "encoder_ffn_dim": 256,
    "encoder_attention_heads": 4,
    "d_model": 128,
    "decoder_in_channels": [128, 128, 128],
    "decoder_ffn_dim": 256,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "num_queries": 100,
    "num_denoising": 40,
}


@dataclass(frozen=True)
class Pupil:
    """A family, small.

    Attributes:
        family: The class in transformers.
        config: Likewise.
        params: Of the configuration.
        epochs: After which it knows eight scenes.
    """

    family: str
    config: str
    params: dict[str, Any]
    epochs: int


PUPILS = {
    "rt_detr_v2": Pupil(
        "RTDetrV2ForObjectDetection", "RTDetrV2Config",
        _DETR | {"backbone_config": _RESNET}, epochs=120,
    ),
    "d_fine": Pupil(
        "DFineForObjectDetection", "DFineConfig",
        _DETR | {"backbone_config": _HGNET}, epochs=120,
    ),
}  # fmt: skip


def write_scenes(folder: Path, count: int) -> list[Example]:
    """Write rendered scenes, each of another drive, and return them with what is in them."""
    folder.mkdir(parents=True)
    examples = []
    for i in range(count):
        (scene,) = drive_scenes(5, i, n_frames=1)
        path = folder / f"{i:03d}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
        ids = np.array([CLASSES.index(one) for one in scene.labels], np.int64)
        sure = np.ones(len(ids), np.float32)
        examples.append(Example(path, Detections(scene.boxes_xyxy, sure, ids, CLASSES)))
    return examples


def learn(folder: Path, name: str, examples: Sequence[Example], device: torch.device) -> None:
    """Train a pupil from nothing and write its checkpoint into `folder`."""
    pupil, nothing = PUPILS[name], folder.with_name(f"{folder.name}-random")
    _write_random(pupil, nothing)
    model = registry.create("detr", nothing).with_classes(CLASSES)
    done = fit(
        model, examples, (), out=folder, epochs=pupil.epochs, patience=pupil.epochs, device=device,
        batch_size=len(examples), learning_rate=RATE, variants=1, effects=NO_EFFECTS,
    )  # fmt: skip
    first, last = done.train_loss[0], done.train_loss[-1]
    logger.info("%s: learned in %.0f s, loss %.1f to %.1f", name, done.seconds, first, last)


def _write_random(pupil: Pupil, folder: Path) -> None:
    """Write new weights from which it can learn, as its hub repository would have them."""
    config = getattr(transformers, pupil.config)(**pupil.params, **_LABELS)
    with seeded():
        module = getattr(transformers, pupil.family)(config).eval()
        _initialise(module)
        pixels = torch.rand(4, 3, SIDE, SIDE)
        settle_norms(module, lambda: module(pixel_values=pixels))
    module.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.RTDetrImageProcessor(size=size).save_pretrained(folder)


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Draw new weights where transformers' own deviation of 0.01 lets nothing pass."""
    for name, one in module.named_modules():
        if isinstance(one, nn.Conv2d):
            nn.init.kaiming_normal_(one.weight)
            if one.bias is not None:
                nn.init.zeros_(one.bias)
        elif isinstance(one, nn.Linear) and not any(part in name for part in _INITIALISED_WELL):
            nn.init.xavier_uniform_(one.weight)
            nn.init.zeros_(one.bias)


_INITIALISED_WELL = (
    "attention_weights",
    "bbox",
    "class_embed",
    "enc_score_head",
    "sampling_offsets",
    "value_proj",
)
