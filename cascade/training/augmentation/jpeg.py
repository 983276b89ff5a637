"""JPEG compression artifacts, computed in batches on any device.

Like OpenCV and libjpeg: chrominance at half the resolution, 8 x 8 cosine transforms, and the
standard's example tables. The lossless coding is omitted, as it changes no pixel.

- [0] ITU-T T.81, Annex K, 1992
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from cascade.training.augmentation.noise import to_device

_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)  # fmt: skip
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_BLOCK = 8


def jpeg_round_trip(pixels: Tensor, quality: Tensor) -> Tensor:
    """Return the pixels after a round trip through JPEG.

    Args:
        pixels: RGB in 0..255, float, shape (B, 3, H, W).
        quality: Quality of each image, 1..100, shape (B,).
    """
    height, width = pixels.shape[-2:]
    padding = (0, -width % (2 * _BLOCK), 0, -height % (2 * _BLOCK))
    padded = functional.pad(pixels, padding, mode="replicate")
    matrix = to_device(torch.tensor(_TO_YCC), pixels.device)
    ycc = torch.einsum("ij,bjhw->bihw", matrix, padded)
    luma = _quantize(ycc[:, :1] - 128, _table(_LUMINANCE, quality)) + 128
    small = functional.avg_pool2d(ycc[:, 1:], 2)
    chroma = functional.interpolate(
        _quantize(small, _table(_CHROMINANCE, quality)),
        size=luma.shape[-2:], mode="bilinear", align_corners=False,
    )  # fmt: skip
    inverse = to_device(torch.linalg.inv(torch.tensor(_TO_YCC)), pixels.device)
    rgb = torch.einsum("ij,bjhw->bihw", inverse, torch.cat([luma, chroma], dim=1))
    return rgb[..., :height, :width].clamp(0, 255)


def _table(base: tuple[int, ...], quality: Tensor) -> Tensor:
    """Return each image's quantization steps, shape (B, 1, 1, 1, 8, 8), scaled as in libjpeg."""
    q = quality.float().clamp(1, 100)
    scale = torch.where(q < 50, 5000 / q, 200 - 2 * q)[:, None]
    table = to_device(torch.tensor(base), quality.device)
    steps = (table * scale + 50).div(100).floor().clamp(1, 255)
    return steps.view(-1, 1, 1, 1, _BLOCK, _BLOCK)


def _quantize(plane: Tensor, steps: Tensor) -> Tensor:
    """Return planes (B, C, H, W) with the cosine coefficients of each block rounded to `steps`."""
    b, c, h, w = plane.shape
    blocks = plane.view(b, c, h // _BLOCK, _BLOCK, w // _BLOCK, _BLOCK).transpose(3, 4)
    basis = to_device(_cosines(), plane.device)
    rounded = (basis @ blocks @ basis.T / steps).round() * steps
    return (basis.T @ rounded @ basis).transpose(3, 4).reshape(b, c, h, w)


@cache
def _cosines() -> Tensor:
    """Return the orthonormal cosine basis, (8, 8), one frequency per row."""
    k = torch.arange(_BLOCK, dtype=torch.float64)
    basis = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / (2 * _BLOCK)) / 2
    basis[0] /= math.sqrt(2)
    return basis.float()
