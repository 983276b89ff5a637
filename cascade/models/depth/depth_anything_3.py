"""Depth Anything 3, metric: depth in meters by the focal length, without the sky.

The package depth-anything-3 requires incompatible versions, so it is installed by hand:
`pip install --no-deps depth-anything-3 addict omegaconf einops antlr4-python3-runtime`.
Only the network is imported: the package's API needs many more packages and changes settings
of torch. This is the only file that imports it.

- [0] Lin et al., Depth Anything 3: Recovering the Visual Space from Any Views, 2025
"""

from __future__ import annotations

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
from torch import Tensor

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch, Image
from cascade.models.huggingface.image_processor import channel_tensor
from cascade.models.huggingface.pretrained import read_config
from cascade.predictions import DepthMap
from cascade.protocols import Tensors

METRIC = "da3metric"
PATCH = 14
SKY = 0.3  # minimum sky score of a sky pixel, as in the package
CANONICAL_FOCAL_PX = 300  # focal length for which raw depth is in meters [0]
_MEAN = (0.485, 0.456, 0.406)  # ImageNet, in RGB: the checkpoint has no image processor
_STD = (0.229, 0.224, 0.225)
_CLASSES = {"net": "DinoV2", "head": "DPT"}


class DepthAnything3:
    """Depth estimator in meters; a map has the size of the network's view.

    The package treats a batch as views of one scene, so images are computed one by one.

    Args:
        checkpoint: Folder in the hub's format: config.json and model.safetensors.
        size: Longer side of a resized image, in pixels.
        horizontal_fov_deg: Horizontal field of view of the camera, ASSUMED for images without a
            focal length: depth is wrong by the same factor as the assumed focal length.

    Raises:
        CheckpointError: The checkpoint is missing, incomplete, or not metric.
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
                f"horizontal_fov_deg must be between 0 and 180, got {horizontal_fov_deg}."
            )
        self._size = size
        self._fov_deg = horizontal_fov_deg
        self.module = _load(checkpoint)

    def prepare(self, batch: Batch) -> Tensors:
        """Return the normalized pixels: one tensor (1, 1, 3, H, W) per image."""
        mean, std = channel_tensor(_MEAN, batch.device), channel_tensor(_STD, batch.device)
        pixels = []
        for image in batch.images:
            view = torch.from_numpy(resized(image, self._size)).permute(2, 0, 1)
            view = view.to(batch.device, non_blocking=True).float() / 255
            pixels.append(((view - mean) / std)[None, None])
        return {"pixels": pixels}

    def forward(self, tensors: Tensors) -> list[Tensor]:
        """Return raw depth and sky scores, (2, H, W) per image."""
        return [self._depth_and_sky(view) for view in tensors["pixels"]]

    def decode(self, raw: list[Tensor], batch: Batch) -> list[DepthMap]:
        """Return one map per image, in order; NaN in the sky."""
        focals = batch.focals_px or (None,) * len(batch)
        maps = []
        for output, size, focal in zip(raw, batch.sizes, focals, strict=True):
            depth, sky = output.float().cpu().numpy()
            focal_px = focal or assumed_focal_px(size[1], self._fov_deg)
            meters = depth * processed_focal_px(focal_px, size, depth.shape) / CANONICAL_FOCAL_PX
            maps.append(DepthMap(depth=np.where(sky < SKY, meters, np.nan), unit="metres"))
        return maps

    def _depth_and_sky(self, view: Tensor) -> Tensor:
        # Backbone and head are called directly: the package's `forward` also paints the sky with
        # a quantile of a random sample of depths, and synchronizes the device three times.
        features, _ = self.module.backbone(view, cam_token=None, export_feat_layers=[])
        with torch.autocast(view.device.type, enabled=False):
            output = self.module.head(features, *view.shape[-2:], patch_start_idx=0)
        return torch.cat([output["depth"][0], output["sky"][0]])


def processed_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the size of the network's view: proportions kept, rounded to multiples of 14."""
    bounded_height, bounded_width = _bounded_size(height, width, longest)
    return _round_to_patches(bounded_height), _round_to_patches(bounded_width)


def assumed_focal_px(width: int, horizontal_fov_deg: float) -> float:
    """Return the focal length of a pinhole camera with that field of view, in image pixels."""
    return width / 2 / math.tan(math.radians(horizontal_fov_deg) / 2)


def processed_focal_px(focal_px: float, size: tuple[int, int], processed: tuple[int, ...]) -> float:
    """Return the focal length in pixels of the network's view.

    Args:
        focal_px: Focal length in pixels of the image.
        size: Height and width of the image.
        processed: Height and width of the view; the two scales are averaged.
    """
    return focal_px * (processed[0] / size[0] + processed[1] / size[1]) / 2


def resized(image: Image, longest: int) -> Image:
    """Return the network's view of an image, resized twice, as in the package."""
    height, width = image.shape[:2]
    bounded = _resize(image, _bounded_size(height, width, longest))
    return _resize(bounded, processed_size(height, width, longest))


def _bounded_size(height: int, width: int, longest: int) -> tuple[int, int]:
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _round_to_patches(side: int) -> int:
    """Return the nearest multiple of the patch size; ties round up."""
    return max(PATCH, (side + PATCH // 2) // PATCH * PATCH)


def _resize(image: Image, size: tuple[int, int]) -> Image:
    height, width = size
    if image.shape[:2] == size:
        return image
    larger = height > image.shape[0] or width > image.shape[1]
    interpolation = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    return resized.astype(np.uint8, copy=False)


def _load(folder: Path) -> Any:
    """Return the frozen network of a checkpoint."""
    config, weights_path = read_config(folder), folder / "model.safetensors"
    if not weights_path.is_file():
        raise CheckpointError(
            f"Cannot find a checkpoint at {folder}: {weights_path.name} is missing."
        )
    try:
        tensors = load_file(weights_path)
    except SafetensorError as error:
        raise CheckpointError(f"{weights_path} is damaged: {error}.") from error
    model = config.get("model_name")
    if not isinstance(model, str) or not model.startswith(METRIC):
        raise CheckpointError(
            f"{folder} contains the Depth Anything 3 model {model!r}; only the metric models, "
            f"{METRIC}-..., compute meters by the focal length."
        )
    module = build_network(config.get("config") or preset(model, folder), folder)
    weights = {key.removeprefix("model."): tensor for key, tensor in tensors.items()}
    try:
        missing = module.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: the weights do not fit the network: {error}.") from error
    if missing:
        raise CheckpointError(
            f"{folder} is incomplete: {len(missing)} tensors are missing, "
            f"the first is {missing[0]!r}."
        )
    return module.eval().requires_grad_(False)


def preset(name: str, folder: Path) -> Any:
    """Return the package's architecture of that name."""
    from depth_anything_3.registry import MODEL_REGISTRY

    if name not in MODEL_REGISTRY:
        raise CheckpointError(
            f"{folder}: the package has no model {name!r}, only {', '.join(MODEL_REGISTRY)}."
        )
    return yaml.safe_load(Path(MODEL_REGISTRY[name]).read_text())


def build_network(architecture: Mapping[str, Any], folder: Path) -> Any:
    """Build the network from a fixed set of classes, which a config cannot extend."""
    os.environ.setdefault("DA3_LOG_LEVEL", "WARN")  # silences prints during construction
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "register_new_resolver", UserWarning)
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        from depth_anything_3.model.da3 import DepthAnything3Net
        from depth_anything_3.model.dinov2.dinov2 import DinoV2
        from depth_anything_3.model.dpt import DPT
    parts = {}
    for part, expected in _CLASSES.items():
        options = dict(architecture.get(part) or {})
        name = options.pop("__object__", {}).get("name")
        if name != expected:
            raise CheckpointError(f"{folder}: {part} must be a {expected}, got {name!r}.")
        parts[part] = options
    try:
        return DepthAnything3Net(net=DinoV2(**parts["net"]), head=DPT(**parts["head"]))
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise CheckpointError(f"{folder}: cannot build the network: {error}.") from error
