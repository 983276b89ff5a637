"""Resizing compared with Pillow, and cached views of batches."""

import numpy as np
import pytest
import torch
from PIL import Image

from cascade.imaging import resizing
from cascade.imaging.batches import Batch


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("mode", "resample"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
@pytest.mark.parametrize("size", [(64, 48), (200, 320), (37, 91)])
def test_resize_matches_pillow(mode, resample, size):
    image = noise(120, 160)
    resized = resizing.resize(tensor(image), *size, mode)[0].permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], resample))
    assert np.abs(resized.astype(int) - expected).max() <= 1


def test_resize_to_the_same_size_returns_the_input():
    image = tensor(noise(20, 30))
    assert resizing.resize(image, 20, 30) is image


def test_batch_caches_each_view():
    batch = Batch(("a", "b"), (noise(20, 30), noise(40, 10, seed=1)))
    assert batch.view(16, 16) is batch.view(16, 16)
    assert batch.view(16, 16) is not batch.view(16, 16, "bicubic")
    assert Batch((), ()).view(8, 8).shape == (0, 3, 8, 8)


def test_part_keeps_the_context_of_its_images():
    batch = Batch(("a", "b", "c"), (noise(4, 4),) * 3, focals_px=(1.0, None, 3.0))
    part = batch.part(1, 3)
    assert part.ids == ("b", "c")
    assert part.focals_px == (None, 3.0)
    assert part.detections == ()
