"""A detector that is not ours, for `07_bring_your_own_model`: whatever is orange is a cone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from cascade.imaging.batches import Batch, Image
from cascade.predictions import Detections

ORANGE_HSV = ((3, 140, 110), (16, 255, 255))  # least and most; OpenCV's hue ends at 180


class OrangeBlobs:
    """Boxes around connected orange pixels.

    Args:
        checkpoint: Nothing is learned, so there is none.
        least_share: Of the image's pixels, that a blob must have.
    """

    classes = ("cone",)

    def __init__(self, checkpoint: Path | None = None, *, least_share: float = 0.0004) -> None:
        self.module = nn.Identity()
        self._least_share = least_share

    def prepare(self, batch: Batch) -> dict[str, Any]:
        """Return what `forward` needs: nothing."""
        return {}

    def forward(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Return raw outputs; a network would work here."""
        return tensors

    def decode(self, raw: dict[str, Any], batch: Batch) -> list[Detections]:
        """Return the boxes of each image, in order."""
        return [self._blobs(image) for image in batch.images]

    def _blobs(self, image: Image) -> Detections:
        height, width = image.shape[:2]
        mask = cv2.inRange(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), *ORANGE_HSV)
        _, _, found, _ = cv2.connectedComponentsWithStats(mask)
        found = found[1:]  # the first is the background
        found = found[found[:, cv2.CC_STAT_AREA] >= self._least_share * height * width]
        x, y, w, h, area = found.T.astype(np.float32)
        corners = np.stack([x / width, y / height, (x + w) / width, (y + h) / height], axis=1)
        return Detections(
            boxes_xyxy=corners,
            scores=area / (w * h),  # how much of its box is orange
            class_ids=np.zeros(len(found), np.int64),
            classes=self.classes,
        )
