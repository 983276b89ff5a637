"""Test images: synthetic, or photographs from the folder of `CURATION_SHARED`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cascade.imaging import batches
from cascade.imaging.batches import Batch, Image

SIZES = ((96, 160), (160, 96), (64, 64), (97, 131), (33, 50))  # larger and smaller than views


def batch_of(pictures: Sequence[Image]) -> Batch:
    """Return a batch of the images, named by their index."""
    return Batch(ids=tuple(str(i) for i in range(len(pictures))), images=tuple(pictures))


def drawn(sizes: Sequence[tuple[int, int]] = SIZES, *, seed: int = 0) -> list[Image]:
    """Return color blocks with noise, one image per height and width."""
    rng = np.random.default_rng(seed)
    images = []
    for height, width in sizes:
        blocks = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3))
        large = np.kron(blocks, np.ones((16, 16, 1), int))[:height, :width]
        noise = rng.integers(-20, 21, (height, width, 3))
        images.append((large + noise).clip(0, 255).astype(np.uint8))
    return images


def photographs(count: int = 4) -> list[Image]:
    """Return real photographs of roads; skip the test without them."""
    shared = os.environ.get("CURATION_SHARED")
    if not shared:
        pytest.skip("no photographs: set CURATION_SHARED to their folder")
    paths = sorted((Path(shared) / "data" / "roadwork_clips" / "images").glob("*.jpg"))[:count]
    assert len(paths) == count, f"{shared} contains {len(paths)} photographs"
    return [batches.read(path) for path in paths]


SOURCES = (
    pytest.param(drawn, id="drawn"),
    pytest.param(photographs, id="photographs"),
)
