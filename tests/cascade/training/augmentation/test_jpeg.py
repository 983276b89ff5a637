"""Comparison of our JPEG artifacts with OpenCV's."""

import cv2
import numpy as np
import pytest
import torch

from cascade.training.augmentation.jpeg import jpeg_round_trip


def picture(height=48, width=80):
    """A smooth scene with a few sharp colored boxes."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([120 + x, 90 + 2 * y, 200 - x], -1).clip(0, 255).astype(np.uint8)
    image[10:30, 20:40] = (230, 60, 20)
    image[25:40, 50:70] = (20, 40, 160)
    return image


def by_opencv(image, quality):
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)


def tensor(*images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("quality", [10, 30, 60, 90])
def test_artifacts_match_opencv(quality):
    image = picture()
    ours = jpeg_round_trip(tensor(image), torch.tensor([quality]))[0].permute(1, 2, 0).numpy()
    theirs = by_opencv(image, quality)
    lost = np.abs(theirs - image).mean()
    assert lost > 0.5
    assert np.abs(ours - theirs).mean() < max(0.35 * lost, 1.0)


def test_lower_quality_loses_more_detail():
    image = picture()
    pixels = tensor(image, image, image)
    lost = (jpeg_round_trip(pixels, torch.tensor([10, 50, 95])) - pixels).abs().mean((1, 2, 3))
    assert lost[0] > lost[1] > lost[2]


def test_image_size_is_kept():
    pixels = tensor(picture(37, 51))
    assert jpeg_round_trip(pixels, torch.tensor([50])).shape == pixels.shape


def test_gray_image_is_unchanged():
    pixels = torch.full((1, 3, 16, 16), 128.0)
    assert torch.allclose(jpeg_round_trip(pixels, torch.tensor([50])), pixels, atol=1e-2)
