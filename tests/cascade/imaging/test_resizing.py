"""Resizing, letterboxes and fitted sizes: as Pillow does it, and back again."""

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
def test_resizing_is_what_pillow_does(mode, resample, size):
    image = noise(120, 160)
    found = resizing.resized(tensor(image), *size, mode)[0].permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], resample))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_an_image_of_the_right_size_stays_as_it_is():
    image = tensor(noise(20, 30))
    assert resizing.resized(image, 20, 30) is image


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("size", [(100, 200), (200, 100), (64, 64), (721, 1283)])
def test_boxes_come_back_from_a_letterbox(centred, size):
    box, place = resizing.letterboxed(tensor(noise(*size)), 128, centred=centred)
    assert box.shape == (1, 3, 128, 128)
    height, width = size
    inner = torch.tensor([[0.25, 0.25, 0.75, 0.75]]) * torch.tensor([width, height] * 2)
    there = inner * place.scale + torch.tensor([place.left, place.top] * 2)
    assert place.to_relative(there)[0].numpy() == pytest.approx([0.25, 0.25, 0.75, 0.75])


def test_the_border_of_a_letterbox_is_grey_and_the_image_lies_in_the_middle():
    box, place = resizing.letterboxed(tensor(np.zeros((50, 100, 3), np.uint8)), 100)
    assert (place.top, place.left) == (25, 0)
    assert (box[0, :, :25] == 114).all()
    assert (box[0, :, 25:75] == 0).all()
    assert (box[0, :, 75:] == 114).all()


@pytest.mark.parametrize(
    ("size", "how", "expected"),
    [
        pytest.param((480, 640), {"shortest": 800}, (800, 1067), id="shortest side"),
        pytest.param((480, 1920), {"shortest": 800, "longest": 1333}, (333, 1333), id="longest"),
        pytest.param((720, 1280), {"shortest": 518, "multiple": 14}, (518, 924), id="multiple"),
        pytest.param((10, 1000), {"shortest": 7, "multiple": 14}, (14, 700), id="never nothing"),
    ],
)
def test_fitted_sizes(size, how, expected):
    assert resizing.fitted_size(*size, **how) == expected


def test_a_batch_makes_each_view_once():
    batch = Batch(("a", "b"), (noise(20, 30), noise(40, 10, seed=1)))
    assert batch.view(16, 16) is batch.view(16, 16)
    assert batch.view(16, 16) is not batch.view(16, 16, "bicubic")
    assert batch.letterbox(32)[0].shape == (2, 3, 32, 32)
    assert batch.letterbox(32) is batch.letterbox(32)
    assert Batch((), ()).view(8, 8).shape == (0, 3, 8, 8)
    assert Batch((), ()).letterbox(8)[0].shape == (0, 3, 8, 8)


def test_a_part_of_a_batch_keeps_what_is_known_of_its_images():
    batch = Batch(("a", "b", "c"), (noise(4, 4),) * 3, focals_px=(1.0, None, 3.0))
    part = batch.part(1, 3)
    assert part.ids == ("b", "c")
    assert part.focals_px == (None, 3.0)
    assert part.found == ()
