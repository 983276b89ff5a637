"""Depth Anything 3, metric: metres by the focal length, the sky left out.

Its package depth-anything-3 asks for versions that cannot be had together, so it is installed
by hand: `pip install --no-deps depth-anything-3 addict omegaconf einops antlr4-python3-runtime`.
Only the network is imported, not the package's front door, which needs much more and changes
settings of torch. The only file that imports it.

- [0] Lin et al., Depth Anything 3: Recovering the Visual Space from Any Views, 2025
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch, Image
from cascade.predictions import DepthMap
from cascade.protocols import Tensors

METRIC = "da3metric"
PATCH = 14
SKY = 0.3  # from here on the package, too, takes a pixel for sky
CANONICAL_FOCAL_PX = 300  # the camera that raw depth is in metres for [0]
_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, in RGB: the checkpoint brings no processor
_STD = (0.229, 0.224, 0.225)
_CLASSES = {"net": "DinoV2", "head": "DPT"}


class DepthAnything3:
    """Depth of every pixel in metres, on a map of the size that the network sees.

    The package sees a batch as views of one scene, so images are computed one by one here.

    Args:
        checkpoint: A folder as on the hub: config.json and model.safetensors.
        size: What the longer side of an image becomes, in pixels.
        horizontal_fov_deg: The camera's horizontal field of view, ASSUMED where a batch knows
            no focal length: metres are wrong by the factor by which the assumed focal length is.

    Raises:
        CheckpointError: The checkpoint is absent, not whole, or not a metric one.
    """

    def __init__(
        self,
        checkpoint: Path | None = None,
        *,
        size: int = 504,
        horizontal_fov_deg: float = 70.0,
    ) -> None:
        if checkpoint is None:
            raise CheckpointError(
                "The adapter 'depth_anything_3' needs a checkpoint: give it a `source`."
            )
        if not 0 < horizontal_fov_deg < 180:
            raise CheckpointError(
                f"horizontal_fov_deg must lie between 0 and 180, got {horizontal_fov_deg}."
            )
        self._size = size
        self._fov_deg = horizontal_fov_deg
        self._module = _load(checkpoint)

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._module

    def prepare(self, batch: Batch) -> Tensors:
        """Return the pixels that `forward` needs, normalised: one (1, 1, 3, H, W) per image."""
        mean, std = (torch.tensor(one, device=batch.device).view(3, 1, 1) for one in (_MEAN, _STD))
        pixels = []
        for image in batch.images:
            view = torch.from_numpy(resized(image, self._size)).permute(2, 0, 1)
            view = view.to(batch.device, non_blocking=True).float() / 255
            pixels.append(((view - mean) / std)[None, None])
        return {"pixels": pixels}

    def forward(self, tensors: Tensors) -> list[Tensor]:
        """Return raw depth and how much of it is sky, (2, H, W) per image."""
        return [self._of_view(view) for view in tensors["pixels"]]

    def decode(self, raw: list[Tensor], batch: Batch) -> list[DepthMap]:
        """Return one map per image, in order; NaN in the sky."""
        focals = batch.focals_px or (None,) * len(batch)
        maps = []
        for found, size, known in zip(raw, batch.sizes, focals, strict=True):
            depth, sky = found.float().cpu().numpy()
            focal_px = known or assumed_focal_px(size[1], self._fov_deg)
            metres = depth * processed_focal_px(focal_px, size, depth.shape) / CANONICAL_FOCAL_PX
            maps.append(DepthMap(depth=np.where(sky < SKY, metres, np.nan), unit="metres"))
        return maps

    def _of_view(self, view: Tensor) -> Tensor:
        # Backbone and head by themselves: the package's own `forward` goes on to paint the sky
        # with a random sample's quantile of the depth, and waits for the device three times.
        features, _ = self._module.backbone(view, cam_token=None, export_feat_layers=[])
        with torch.autocast(view.device.type, enabled=False):
            found = self._module.head(features, *view.shape[-2:], patch_start_idx=0)
        return torch.cat([found["depth"][0], found["sky"][0]])


def processed_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the size that the network sees: proportions kept, but for multiples of 14."""
    first, second = (_of_patches(side) for side in _bounded(height, width, longest))
    return first, second


def assumed_focal_px(width: int, horizontal_fov_deg: float) -> float:
    """Return the focal length of a pinhole camera with that field of view, in its own pixels."""
    return width / 2 / math.tan(math.radians(horizontal_fov_deg) / 2)


def processed_focal_px(focal_px: float, size: tuple[int, int], processed: tuple[int, ...]) -> float:
    """Return the focal length in pixels of the processed image.

    Args:
        focal_px: In pixels of the image itself.
        size: Height and width of the image.
        processed: Likewise, of what the network sees; both scales are averaged.
    """
    return focal_px * (processed[0] / size[0] + processed[1] / size[1]) / 2


def resized(image: Image, longest: int) -> Image:
    """Return the image as the network sees it, resized twice, as the package does it."""
    height, width = image.shape[:2]
    bounded = _scaled(image, _bounded(height, width, longest))
    return _scaled(bounded, processed_size(height, width, longest))


def _bounded(height: int, width: int, longest: int) -> tuple[int, int]:
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _of_patches(side: int) -> int:
    """Return the nearest multiple of the patch, the larger one of two."""
    return max(PATCH, (side + PATCH // 2) // PATCH * PATCH)


def _scaled(image: Image, size: tuple[int, int]) -> Image:
    height, width = size
    if image.shape[:2] == size:
        return image
    larger = height > image.shape[0] or width > image.shape[1]
    how = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
    return cv2.resize(image, (width, height), interpolation=how).astype(np.uint8, copy=False)


def _load(folder: Path) -> Any:
    """Return the network of a checkpoint, frozen."""
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise CheckpointError(f"There is no checkpoint at {folder}: {name} is missing.")
    try:
        config = json.loads((folder / "config.json").read_text())
        tensors = load_file(folder / "model.safetensors")
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {folder} is damaged: {error}.") from error
    model = config.get("model_name") if isinstance(config, dict) else None
    if not isinstance(model, str) or not model.startswith(METRIC):
        raise CheckpointError(
            f"{folder} holds the Depth Anything 3 model {model!r}; only the metric ones, "
            f"{METRIC}-..., tell metres by the focal length."
        )
    module = network(config.get("config") or preset(model, folder), folder)
    weights = {key.removeprefix("model."): one for key, one in tensors.items()}
    try:
        missing = module.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: the weights do not fit the network: {error}.") from error
    if missing:
        raise CheckpointError(
            f"{folder} is no whole checkpoint: {len(missing)} tensors are missing, "
            f"the first of them {missing[0]!r}."
        )
    return module.eval().requires_grad_(False)


def preset(name: str, folder: Path) -> Any:
    """Return the architecture that the package knows by that name."""
    from depth_anything_3.registry import MODEL_REGISTRY

    if name not in MODEL_REGISTRY:
        raise CheckpointError(
            f"{folder}: the package knows no model {name!r}, only {', '.join(MODEL_REGISTRY)}."
        )
    return yaml.safe_load(Path(MODEL_REGISTRY[name]).read_text())


def network(architecture: Mapping[str, Any], folder: Path) -> Any:
    """Build the network; classes are ours to choose, whatever a config names."""
    os.environ.setdefault("DA3_LOG_LEVEL", "WARN")  # else it prints while it is built
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "register_new_resolver", UserWarning)
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        from depth_anything_3.model.da3 import DepthAnything3Net
        from depth_anything_3.model.dinov2.dinov2 import DinoV2
        from depth_anything_3.model.dpt import DPT
    parts = {}
    for part, expected in _CLASSES.items():
        wanted = dict(architecture.get(part) or {})
        named = wanted.pop("__object__", {}).get("name")
        if named != expected:
            raise CheckpointError(f"{folder}: {part} must be a {expected}, got {named!r}.")
        parts[part] = wanted
    try:
        return DepthAnything3Net(net=DinoV2(**parts["net"]), head=DPT(**parts["head"]))
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise CheckpointError(f"{folder}: the network cannot be built: {error}.") from error
