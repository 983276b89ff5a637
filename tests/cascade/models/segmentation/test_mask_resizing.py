import numpy as np
import pytest
import torch
from torch.nn import functional

from cascade.models.segmentation import mask_resizing


def test_maps_are_enlarged_before_threshold():
    """A step between two cells lies between their centers, not at a cell's edge."""
    maps = torch.tensor([[[-1.0, 3.0]]])
    masks = mask_resizing.enlarge_masks(maps, (1, 8), above=0.0)
    assert masks.dtype == np.bool_
    assert masks.astype(int).tolist() == [[[0, 0, 0, 1, 1, 1, 1, 1]]]


@pytest.mark.parametrize("at_once", [1, 20 * 30 * 3, 1 << 25])
def test_step_size_does_not_change_masks(monkeypatch, at_once):
    monkeypatch.setattr(mask_resizing, "PIXELS_PER_STEP", at_once)
    maps = torch.randn(7, 8, 9, generator=torch.Generator().manual_seed(0))
    large = functional.interpolate(maps[None], (20, 30), mode="bilinear")[0]
    masks = mask_resizing.enlarge_masks(maps, (20, 30), above=0.25)
    assert (masks == (large > 0.25).numpy()).all()
    assert 0.1 < masks.mean() < 0.9


def test_half_precision_maps_are_enlarged_in_float32():
    maps = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    masks = mask_resizing.enlarge_masks(maps, (64, 64), above=0.0)
    assert (masks == mask_resizing.enlarge_masks(maps.float(), (64, 64), above=0.0)).all()


def test_no_maps_give_no_masks():
    assert mask_resizing.enlarge_masks(torch.zeros(0, 4, 4), (20, 30), above=0.0).shape == (
        0,
        20,
        30,
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((720, 1280), (720, 1280), id="what fits stays"),
        pytest.param((1080, 1920), (720, 1280), id="what is wider shrinks"),
        pytest.param((4000, 3000), (1280, 960), id="what is higher shrinks"),
        pytest.param((1, 5000), (1, 1280), id="no side vanishes"),
    ],
)
def test_map_size_is_image_size_up_to_maximum(size, expected):
    assert mask_resizing.map_size(*size, longest=1280) == expected
