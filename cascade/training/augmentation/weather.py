"""Night, rain and blur over images, computed in batches on any device.

Pixels are RGB in 0..255, float, shape (B, 3, H, W). Nothing moves, so boxes stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cascade.training.augmentation.noise import noise, on_device

_MOONLIGHT = (0.55, 0.65, 0.9)  # what the darkest night leaves of red, green and blue
_GRAIN = 12.0  # grey levels of sensor noise in the darkest night
_DROPS = 0.004  # share of pixels in which a streak begins, in the heaviest rain
_STREAK = 0.06  # length of a streak, of the image's height
_HAZE = 165.0  # grey of the rain curtain
_REACH = 4  # pixels on either side that a blur looks at


def night(pixels: Tensor, strength: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return darker, bluer, noisier images; what is bright, such as lamps, stays bright.

    Args:
        pixels: See above.
        strength: Of each image, in [0, 1], shape (B,).
        seeds: Of the noise.
    """
    s = strength.view(-1, 1, 1, 1)
    tint = on_device(torch.tensor(_MOONLIGHT), pixels.device).view(1, 3, 1, 1)
    dark = 255 * (pixels.clamp(min=0) / 255) ** (1 + 1.2 * s) * (1 + s * (tint - 1))
    grain = noise(seeds, (3, *pixels.shape[-2:]), pixels.device) - 0.5
    return (dark + 2 * _GRAIN * s * grain).clamp(0, 255)


def rain(pixels: Tensor, strength: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return images behind slanted bright streaks and a haze.

    Args:
        pixels: See above.
        strength: Of each image, in [0, 1], shape (B,).
        seeds: Of the drops and their slant.
    """
    height, width = pixels.shape[-2:]
    s = strength.view(-1, 1, 1, 1)
    drops = (noise(seeds, (1, height, width), pixels.device) > 1 - _DROPS * s).float()
    length = max(3, round(_STREAK * height) | 1)
    streaks = functional.avg_pool2d(drops, (length, 1), stride=1, padding=(length // 2, 0))
    slant = [0.4 * (seed % 1024 / 512 - 1) for seed in seeds]
    rows = [[[1.0, one, 0.0], [0.0, 1.0, 0.0]] for one in slant]
    theta = on_device(torch.tensor(rows), pixels.device)
    grid = functional.affine_grid(theta, list(streaks.shape), align_corners=False)
    slanted = functional.grid_sample(
        (streaks * length).clamp(max=1), grid, padding_mode="reflection", align_corners=False
    )
    hazy = torch.lerp(pixels, torch.full_like(pixels, _HAZE), 0.3 * s)
    return torch.lerp(hazy, torch.full_like(pixels, 230.0), 0.45 * slanted).clamp(0, 255)


def blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Return images out of focus.

    Args:
        pixels: See above.
        sigma: Of the Gaussian, in pixels, above 0, shape (B,).
    """
    b, c, h, w = pixels.shape
    places = torch.arange(-_REACH, _REACH + 1, device=pixels.device)
    kernel = torch.exp(-((places / sigma[:, None]) ** 2) / 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, dim=0)
    padded = functional.pad(pixels, (_REACH,) * 4, mode="replicate").view(1, b * c, h + 8, w + 8)
    across = functional.conv2d(padded, kernel[:, None, None, :], groups=b * c)
    return functional.conv2d(across, kernel[:, None, :, None], groups=b * c).view(b, c, h, w)
