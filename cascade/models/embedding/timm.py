"""Any image network of timm, from a folder that `timm.models.save_for_hf` wrote.

The only file that imports timm.

- [0] Wightman, PyTorch Image Models, 2019
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.data import resolve_model_data_config
from torch import Tensor, nn
from torch.nn import functional

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.imaging.resizing import Mode
from cascade.models.huggingface.image_processor import ProcessorView
from cascade.predictions import Embedding
from cascade.protocols import Tensors

_FILES = ("config.json", "model.safetensors")
_TIMM_ERRORS = (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError)
_MODES: dict[str, Mode] = {"bilinear": "bilinear", "bicubic": "bicubic"}


class TimmEmbedder:
    """Embeds an image by the network's pooled features, its classifier left out.

    Args:
        checkpoint: The folder; size, crop, interpolation and normalisation are those of its config.

    Raises:
        CheckpointError: It is absent or not whole, or asks for an unknown preparation.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        if checkpoint is None:
            raise CheckpointError("The adapter 'timm' needs a checkpoint: give it a `source`.")
        for name in _FILES:  # timm would take a pickle where there are no safetensors
            if not (checkpoint / name).is_file():
                raise CheckpointError(f"There is no timm model at {checkpoint}: {name} is missing.")
        try:
            module = timm.create_model(f"local-dir:{checkpoint}", pretrained=True, num_classes=0)
        except _TIMM_ERRORS as error:
            raise CheckpointError(f"{checkpoint} holds no timm model: {error}") from error
        self._module: nn.Module = module.float().eval().requires_grad_(False)
        self._view = view_of(resolve_model_data_config(module))

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        module: Any = self._module
        return int(getattr(module, "head_hidden_size", module.num_features))

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._module

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels that `forward` needs, normalised, (B, 3, H, W)."""
        return {"pixels": self._view.normalised(self._view.view(batch))}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return vectors of shape (B, D) and length 1."""
        pixels: Tensor = tensors["pixels"]
        if not len(pixels):
            return torch.zeros((0, self.dimensions), device=pixels.device)
        dtype = next(self._module.parameters()).dtype
        return functional.normalize(self._module(pixels.to(dtype)).float(), dim=1)

    def decode(self, raw: Tensor, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        return [Embedding(vector=row) for row in raw.float().cpu().numpy()]


def view_of(data: Mapping[str, Any]) -> ProcessorView:
    """Return the view that a data config of timm describes.

    Args:
        data: `input_size` (3, H, W), `crop_pct`, `crop_mode`, `interpolation`, `mean`, `std`.

    Raises:
        CheckpointError: It crops or interpolates in a way that is not known here.
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
