"""Night, rain and blur, computed in batches on any device.

Pixels are RGB in 0..255, float, shape (B, 3, H, W). The effects move nothing, so boxes stay valid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cascade.training.augmentation.noise import noise, to_device

_MOONLIGHT = (0.55, 0.65, 0.9)  # remaining red, green and blue in the darkest night
_GRAIN = 12.0  # gray levels of sensor noise in the darkest night
_DROPS = 0.004  # share of pixels where a streak starts, in the heaviest rain
_STREAK = 0.06  # length of a streak relative to the image's height
_HAZE = 165.0  # gray level of distant rain
_REACH = 4  # radius of the blur kernel in pixels


def night(pixels: Tensor, strength: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return darker, bluer, noisier images; bright areas, such as lamps, stay bright.

    Args:
        pixels: Images.
        strength: Strength for each image, in [0, 1], shape (B,).
        seeds: Random seeds of the noise.
    """
    s = strength.view(-1, 1, 1, 1)
    tint = to_device(torch.tensor(_MOONLIGHT), pixels.device).view(1, 3, 1, 1)
    dark = 255 * (pixels.clamp(min=0) / 255) ** (1 + 1.2 * s) * (1 + s * (tint - 1))
    grain = noise(seeds, (3, *pixels.shape[-2:]), pixels.device) - 0.5
    return (dark + 2 * _GRAIN * s * grain).clamp(0, 255)


def rain(pixels: Tensor, strength: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return images with slanted bright streaks and haze.

    Args:
        pixels: Images.
        strength: Strength for each image, in [0, 1], shape (B,).
        seeds: Random seeds of the drops and their slant.
    """
    height, width = pixels.shape[-2:]
    s = strength.view(-1, 1, 1, 1)
    drops = (noise(seeds, (1, height, width), pixels.device) > 1 - _DROPS * s).float()
    length = max(3, round(_STREAK * height) | 1)
    streaks = functional.avg_pool2d(drops, (length, 1), stride=1, padding=(length // 2, 0))
    slants = [0.4 * (seed % 1024 / 512 - 1) for seed in seeds]
    rows = [[[1.0, slant, 0.0], [0.0, 1.0, 0.0]] for slant in slants]
    theta = to_device(torch.tensor(rows), pixels.device)
    grid = functional.affine_grid(theta, list(streaks.shape), align_corners=False)
    slanted = functional.grid_sample(
        (streaks * length).clamp(max=1), grid, padding_mode="reflection", align_corners=False
    )
    hazy = torch.lerp(pixels, torch.full_like(pixels, _HAZE), 0.3 * s)
    return torch.lerp(hazy, torch.full_like(pixels, 230.0), 0.45 * slanted).clamp(0, 255)


def blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Return blurred images.

    Args:
        pixels: Images.
        sigma: Standard deviation of the Gaussian in pixels, above 0, shape (B,).
    """
    b, c, h, w = pixels.shape
    offsets = torch.arange(-_REACH, _REACH + 1, device=pixels.device)
    kernel = torch.exp(-((offsets / sigma[:, None]) ** 2) / 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, dim=0)
    padded = functional.pad(pixels, (_REACH,) * 4, mode="replicate").view(1, b * c, h + 8, w + 8)
    across = functional.conv2d(padded, kernel[:, None, None, :], groups=b * c)
    return functional.conv2d(across, kernel[:, None, :, None], groups=b * c).view(b, c, h, w)
