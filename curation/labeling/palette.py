"""Colours for any number of classes that people of every colour vision tell apart.

Okabe and Ito's seven [0] come first. Each further colour is the one, of a grid of colours that
show on white and on black, that is farthest from its nearest predecessor, seen with the least
favourable of four colour visions: the usual one, and without the long, the middle or the short
cones [1]. Distance is Euclid's in Oklab [2]. So a class keeps its colour when others are added
after it.

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


def distinct(n: int) -> tuple[str, ...]:
    """Return the first n colours as `#rrggbb`; past some hundreds they come round again."""
    found = _ordered()
    return tuple(found[i % len(found)] for i in range(n))


def distances(colours: tuple[str, ...]) -> Float64Array:
    """Return how far apart each pair looks to whoever sees the least of it, shape (n, n)."""
    seen = _seen(_rgb(colours))
    return np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1).min(axis=0)


@cache
def _ordered() -> tuple[str, ...]:
    """Return every colour that is used, the most helpful first."""
    grid = ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in product(_STEPS, repeat=3)]
    lightness = _seen(_rgb(tuple(grid)))[0, :, 0]
    shows = (lightness >= _DARKEST) & (lightness <= _LIGHTEST)
    candidates = (*_OKABE_ITO, *(one for one, kept in zip(grid, shows, strict=True) if kept))
    apart = distances(candidates)
    order = list(range(len(_OKABE_ITO)))
    nearest = apart[order].min(axis=0)
    while len(order) < len(candidates) // 2:  # what is left by then looks like its neighbours
        farthest = int(nearest.argmax())
        order.append(farthest)
        nearest = np.minimum(nearest, apart[farthest])
    return tuple(candidates[i] for i in order)


def _rgb(colours: tuple[str, ...]) -> Float64Array:
    """Return linear red, green and blue in [0, 1], shape (n, 3)."""
    encoded = np.array([list(bytes.fromhex(one[1:])) for one in colours], np.float64) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _seen(linear_rgb: Float64Array) -> Float64Array:
    """Return how each vision sees the colours, in Oklab, shape (4, n, 3)."""
    simulated = np.clip(np.einsum("vij,nj->vni", _VISIONS, linear_rgb), 0.0, 1.0)
    return np.cbrt(simulated @ _CONES.T) @ _OPPONENTS.T
