import torch

from cascade.training.augmentation.noise import noise

CPU = torch.device("cpu")


def test_noise_is_even_and_repeats():
    one = noise([1, 2], (3, 64, 64), CPU)
    assert one.shape == (2, 3, 64, 64)
    assert one.min() >= 0
    assert one.max() < 1
    shares = torch.histc(one, bins=10, min=0, max=1) / one.numel()
    assert (shares - 0.1).abs().max() < 0.01
    assert torch.equal(one, noise([1, 2], (3, 64, 64), CPU))


def test_images_channels_and_neighbours_differ():
    one = noise([5, 6], (2, 64, 64), CPU)
    for a, b in ((one[0], one[1]), (one[:, 0], one[:, 1]), (one[..., 1:], one[..., :-1])):
        together = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))
        assert together[0, 1].abs() < 0.03


def test_an_image_has_its_noise_in_whatever_batch_it_is():
    assert torch.equal(noise([7, 8], (1, 8, 8), CPU)[1:], noise([8], (1, 8, 8), CPU))
