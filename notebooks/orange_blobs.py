"""Example detector for `07_bring_your_own_model`: orange pixels are cones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from cascade.imaging.batches import Batch, Image
from cascade.predictions import Detections

ORANGE_HSV = ((3, 140, 110), (16, 255, 255))  # minimum and maximum; OpenCV's hue ends at 180


class OrangeBlobs:
    """Boxes around connected orange pixels.

    Args:
        checkpoint: Unused, since nothing is learned.
        min_share: Minimum share of the image's pixels in a blob.
    """

    classes = ("cone",)

    def __init__(self, checkpoint: Path | None = None, *, min_share: float = 0.0004) -> None:
        self.module = nn.Identity()
        self._min_share = min_share

    def prepare(self, batch: Batch) -> dict[str, Any]:
        """Return no tensors, since `forward` uses none."""
        return {}

    def forward(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Return the raw outputs; a network would run here."""
        return tensors

    def decode(self, raw: dict[str, Any], batch: Batch) -> list[Detections]:
        """Return the boxes of each image, in order."""
        return [self._blobs(image) for image in batch.images]

    def _blobs(self, image: Image) -> Detections:
        height, width = image.shape[:2]
        mask = cv2.inRange(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), *ORANGE_HSV)
        _, _, blobs, _ = cv2.connectedComponentsWithStats(mask)
        blobs = blobs[1:]  # the first is the background
        blobs = blobs[blobs[:, cv2.CC_STAT_AREA] >= self._min_share * height * width]
        x, y, w, h, area = blobs.T.astype(np.float32)
        corners = np.stack([x / width, y / height, (x + w) / width, (y + h) / height], axis=1)
        return Detections(
            boxes_xyxy=corners,
            scores=area / (w * h),  # share of orange pixels in the box
            class_ids=np.zeros(len(blobs), np.int64),
            classes=self.classes,
        )
