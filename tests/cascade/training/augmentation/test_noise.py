import torch

from cascade.training.augmentation.noise import noise

CPU = torch.device("cpu")


def test_noise_is_uniform_and_reproducible():
    values = noise([1, 2], (3, 64, 64), CPU)
    assert values.shape == (2, 3, 64, 64)
    assert values.min() >= 0
    assert values.max() < 1
    shares = torch.histc(values, bins=10, min=0, max=1) / values.numel()
    assert (shares - 0.1).abs().max() < 0.01
    assert torch.equal(values, noise([1, 2], (3, 64, 64), CPU))


def test_images_channels_and_neighbors_differ():
    values = noise([5, 6], (2, 64, 64), CPU)
    for a, b in (
        (values[0], values[1]),
        (values[:, 0], values[:, 1]),
        (values[..., 1:], values[..., :-1]),
    ):
        correlation = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))
        assert correlation[0, 1].abs() < 0.03


def test_noise_does_not_depend_on_batch():
    assert torch.equal(noise([7, 8], (1, 8, 8), CPU)[1:], noise([8], (1, 8, 8), CPU))
