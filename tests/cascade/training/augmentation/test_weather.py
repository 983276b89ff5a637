import torch

from cascade.training.augmentation.weather import blur, night, rain


def plain(grey, n=1, side=64):
    return torch.full((n, 3, side, side), float(grey))


def test_night_is_dark_blue_and_noisy_with_bright_lamps():
    dark = night(plain(120), torch.tensor([1.0]), [3])
    red, _, blue = dark.mean((0, 2, 3))
    assert red < blue < 80
    assert dark.std() > 1
    lamp = night(plain(255), torch.tensor([1.0]), [3])[:, 2].mean()
    assert lamp > 3 * blue


def test_stronger_night_is_darker():
    nights = night(plain(120, n=3), torch.tensor([0.1, 0.5, 1.0]), [1, 1, 1]).mean((1, 2, 3))
    assert nights[0] > nights[1] > nights[2]


def test_rain_streaks_are_longer_than_wide():
    wet = rain(plain(60, side=128), torch.tensor([1.0]), [4])[0, 0]
    bright = (wet > wet.median() + 10).float()
    assert 0.01 < bright.mean() < 0.5
    along = (bright[1:] * bright[:-1]).sum()
    across = (bright[:, 1:] * bright[:, :-1]).sum()
    assert along > 1.5 * across


def test_heavier_rain_changes_more_pixels():
    source = plain(60, n=2, side=128)
    change = (rain(source, torch.tensor([0.3, 1.0]), [9, 9]) - source).abs().mean((1, 2, 3))
    assert change[0] < change[1]


def test_blur_spreads_point_and_keeps_total_light():
    point = torch.zeros(2, 3, 32, 32)
    point[:, :, 16, 16] = 100
    blurred = blur(point, torch.tensor([0.5, 2.0]))
    assert torch.allclose(blurred.sum((2, 3)), point.sum((2, 3)), rtol=1e-4)
    assert blurred[0, 0, 16, 16] > 5 * blurred[1, 0, 16, 16]
    assert torch.equal(blurred.flatten(2).argmax(-1), torch.full((2, 3), 16 * 32 + 16))


def test_blur_keeps_uniform_image():
    assert torch.allclose(blur(plain(80), torch.tensor([1.5])), plain(80), atol=1e-3)
