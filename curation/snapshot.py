"""Which data an ensemble was made from, as one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from cascade.predictions import Detections

_DIGITS = 6  # of the image's side: less than a pixel of any image


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """What of a labeled sample makes a difference to training and evaluation.

    Attributes:
        content: The hash of its file, or its path where there is none.
        split: train, val or test.
        truth: Its ground truth.
    """

    content: str
    split: str
    truth: Detections


def snapshot(images: Iterable[LabeledImage]) -> str:
    """Return 16 hex digits that are equal exactly where images, splits and boxes are.

    The order of images, and of the boxes in one, makes no difference.
    """
    lines = sorted(json.dumps([one.content, one.split, _boxes(one.truth)]) for one in images)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _boxes(truth: Detections) -> list[list[object]]:
    rows = zip(truth.labels, truth.boxes_xyxy.astype(float).tolist(), strict=True)
    # NOTE: adding 0.0 turns -0.0, which prints otherwise, into 0.0.
    return sorted([label, *(round(side, _DIGITS) + 0.0 for side in box)] for label, box in rows)
