"""Hash of the training and evaluation data of an ensemble."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cascade.predictions import Detections

_DIGITS = 6  # of relative coordinates: less than a pixel of any image


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """Parts of a labeled sample that matter for training and evaluation.

    Attributes:
        content: Hash of the file, or its path without one.
        split: train, val or test.
        truth: Ground truth.
    """

    content: str
    split: str
    truth: Detections


@dataclass(frozen=True)
class Differences:
    """Differences between two snapshots, by the content of the images.

    Attributes:
        added: Images in the second snapshot only.
        removed: Images in the first snapshot only.
        moved: Images with another split.
        relabeled: Images with other ground truth.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    relabeled: tuple[str, ...]


def snapshot(images: Iterable[LabeledImage]) -> str:
    """Return a hash of images, splits and boxes, 16 hex digits.

    It does not depend on the order of images, or of the boxes in an image.
    """
    return digest(lines(images))


def lines(images: Iterable[LabeledImage]) -> list[str]:
    """Return the hashed lines, one per image: JSON of content, split and boxes."""
    return sorted(json.dumps([image.content, image.split, _boxes(image.truth)]) for image in images)


def digest(snapshot_lines: Sequence[str]) -> str:
    """Return the hash of `lines`."""
    return hashlib.sha256("\n".join(snapshot_lines).encode()).hexdigest()[:16]


def differences(before: Sequence[str], after: Sequence[str]) -> Differences:
    """Return the differences between two results of `lines`.

    Each copy of an image counts as another image.
    """
    old, new = _by_content(before), _by_content(after)
    common = sorted(old.keys() & new.keys())
    return Differences(
        added=tuple(content for content, _ in sorted(new.keys() - old.keys())),
        removed=tuple(content for content, _ in sorted(old.keys() - new.keys())),
        moved=tuple(key[0] for key in common if old[key][0] != new[key][0]),
        relabeled=tuple(key[0] for key in common if old[key][1] != new[key][1]),
    )


def _by_content(snapshot_lines: Sequence[str]) -> dict[tuple[str, int], tuple[Any, Any]]:
    """Return split and boxes of each image, by its content and number of copy."""
    images: dict[tuple[str, int], tuple[Any, Any]] = {}
    copies: Counter[str] = Counter()
    for line in snapshot_lines:
        content, split, boxes = json.loads(line)
        images[content, copies[content]] = (split, boxes)
        copies[content] += 1
    return images


def _boxes(truth: Detections) -> list[list[object]]:
    rows = zip(truth.labels, truth.boxes_xyxy.astype(float).tolist(), strict=True)
    # NOTE: adding 0.0 turns -0.0, which prints differently, into 0.0.
    return sorted([label, *(round(side, _DIGITS) + 0.0 for side in box)] for label, box in rows)
