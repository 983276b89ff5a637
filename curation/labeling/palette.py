"""Colors for any number of classes that remain distinct under color vision deficiency.

The seven colors of Okabe and Ito [0] come first. Each further color is chosen from a grid of
colors visible on white and on black: the one farthest from its nearest predecessor, under the
least favorable of four color visions: typical, and without long, middle or short cones [1].
Distance is Euclidean in Oklab [2]. A class keeps its color when classes are added after it.

- [0] Okabe and Ito, Color universal design, 2008; https://jfly.uni-koeln.de/color/
- [1] Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation of Color
  Vision Deficiency, IEEE TVCG 2009: the matrices of severity 1
- [2] Ottosson, A perceptual color space for image processing, 2020;
  https://bottosson.github.io/posts/oklab/
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from cascade.arrays import Float64Array

_OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")
_STEPS = (0, 32, 64, 96, 128, 160, 192, 224, 255)
_DARKEST, _LIGHTEST = 0.42, 0.93  # Oklab lightness

_VISIONS = np.array(
    [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OPPONENTS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def distinct_colors(n: int) -> tuple[str, ...]:
    """Return the first n colors as `#rrggbb`; colors repeat after several hundred."""
    palette = _ordered_palette()
    return tuple(palette[i % len(palette)] for i in range(n))


def pairwise_distances(colors: tuple[str, ...]) -> Float64Array:
    """Return the distance of each pair under its least favorable vision, shape (n, n)."""
    perceived = _perceive(_linear_rgb(colors))
    return np.linalg.norm(perceived[:, :, None] - perceived[:, None], axis=-1).min(axis=0)


@cache
def _ordered_palette() -> tuple[str, ...]:
    """Return every color of the palette, most distinct first."""
    grid = ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in product(_STEPS, repeat=3)]
    lightness = _perceive(_linear_rgb(tuple(grid)))[0, :, 0]
    visible = (lightness >= _DARKEST) & (lightness <= _LIGHTEST)
    candidates = (*_OKABE_ITO, *(color for color, keep in zip(grid, visible, strict=True) if keep))
    distances = pairwise_distances(candidates)
    order = list(range(len(_OKABE_ITO)))
    nearest = distances[order].min(axis=0)
    while len(order) < len(candidates) // 2:  # the other half resembles its neighbors
        farthest = int(nearest.argmax())
        order.append(farthest)
        nearest = np.minimum(nearest, distances[farthest])
    return tuple(candidates[i] for i in order)


def _linear_rgb(colors: tuple[str, ...]) -> Float64Array:
    """Return linear red, green and blue in [0, 1], shape (n, 3)."""
    encoded = np.array([list(bytes.fromhex(color[1:])) for color in colors], np.float64) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _perceive(linear_rgb: Float64Array) -> Float64Array:
    """Return the colors under each vision, in Oklab, shape (4, n, 3)."""
    simulated = np.clip(np.einsum("vij,nj->vni", _VISIONS, linear_rgb), 0.0, 1.0)
    return np.cbrt(simulated @ _CONES.T) @ _OPPONENTS.T
