"""Image networks of timm, from folders written by `timm.models.save_for_hf`.

This is the only file that imports timm.

- [0] Wightman, PyTorch Image Models, 2019
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from timm.data import resolve_model_data_config
from torch import Tensor

from cascade.errors import CheckpointError
from cascade.imaging.resizing import Mode
from cascade.models.embedding.image_embedder import ImageEmbedder
from cascade.models.huggingface.image_processor import ProcessorView

_FILES = ("config.json", "model.safetensors")
_TIMM_ERRORS = (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError)
_MODES: dict[str, Mode] = {"bilinear": "bilinear", "bicubic": "bicubic"}


class TimmEmbedder(ImageEmbedder):
    """Image embedder by the network's pooled features, without its classifier.

    Args:
        checkpoint: Folder; its config defines size, crop, interpolation and normalization.

    Raises:
        CheckpointError: The folder is missing or incomplete, or its preprocessing is unsupported.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        if checkpoint is None:
            raise CheckpointError("The adapter 'timm' needs a checkpoint: give it a `source`.")
        for name in _FILES:  # without safetensors, timm would load a pickle
            if not (checkpoint / name).is_file():
                raise CheckpointError(f"No timm model at {checkpoint}: {name} is missing.")
        try:
            module = timm.create_model(f"local-dir:{checkpoint}", pretrained=True, num_classes=0)
        except _TIMM_ERRORS as error:
            raise CheckpointError(f"Cannot load a timm model from {checkpoint}: {error}") from error
        module = module.float().eval().requires_grad_(False)
        dimensions = int(getattr(module, "head_hidden_size", module.num_features))
        super().__init__(module, view_of(resolve_model_data_config(module)), dimensions)

    def _features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self._module(pixels.to(next(self._module.parameters()).dtype))
        return features


def view_of(data: Mapping[str, Any]) -> ProcessorView:
    """Return the view that a data config of timm describes.

    Args:
        data: Mapping with `input_size` (3, H, W), `crop_pct`, `crop_mode`, `interpolation`,
            `mean` and `std`.

    Raises:
        CheckpointError: Its crop or interpolation is not supported.
    """
    channels, *crop = data["input_size"]
    size = tuple(math.floor(side / data["crop_pct"]) for side in crop)
    mode = _MODES.get(data["interpolation"])
    squash = data["crop_mode"] == "squash"
    if channels != 3 or mode is None or not (squash or data["crop_mode"] == "center"):
        raise CheckpointError(
            "A timm model must see 3 channels, resized bilinear or bicubic and cropped by center "
            f"or squash, got {dict(data)}."
        )
    if not squash and size[0] != size[1]:
        raise CheckpointError(f"A timm model must see a square when it crops, got {dict(data)}.")
    return ProcessorView(
        size=(size[0], size[1]),
        resize="stretch" if squash else "shortest",
        mode=mode,
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        crop=(crop[0], crop[1]),
        half_pixel="even",
    )
