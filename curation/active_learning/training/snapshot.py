"""Which data an ensemble was made from, as one hash."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Differences:
    """What two snapshots do not share, by the content of the images.

    Attributes:
        added: Images that only the second has.
        removed: Images that only the first has.
        moved: Images whose split is another.
        relabeled: Images whose ground truth is another.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    relabeled: tuple[str, ...]


def snapshot(images: Iterable[LabeledImage]) -> str:
    """Return 16 hex digits that are equal exactly where images, splits and boxes are.

    The order of images, and of the boxes in one, makes no difference.
    """
    return digest(lines(images))


def lines(images: Iterable[LabeledImage]) -> list[str]:
    """Return all that the hash is of, one line an image: JSON of content, split and boxes."""
    return sorted(json.dumps([one.content, one.split, _boxes(one.truth)]) for one in images)


def digest(snapshot_lines: Sequence[str]) -> str:
    """Return the hash of what `lines` returned."""
    return hashlib.sha256("\n".join(snapshot_lines).encode()).hexdigest()[:16]


def differences(before: Sequence[str], after: Sequence[str]) -> Differences:
    """Return what differs between what `lines` returned then and now.

    An image that is there several times counts as another with each further time.
    """
    old, new = _by_content(before), _by_content(after)
    both = sorted(old.keys() & new.keys())
    return Differences(
        added=tuple(content for content, _ in sorted(new.keys() - old.keys())),
        removed=tuple(content for content, _ in sorted(old.keys() - new.keys())),
        moved=tuple(one[0] for one in both if old[one][0] != new[one][0]),
        relabeled=tuple(one[0] for one in both if old[one][1] != new[one][1]),
    )


def _by_content(snapshot_lines: Sequence[str]) -> dict[tuple[str, int], tuple[Any, Any]]:
    """Return split and boxes of each image, by its content and which time it is there."""
    found: dict[tuple[str, int], tuple[Any, Any]] = {}
    times: Counter[str] = Counter()
    for line in snapshot_lines:
        content, split, boxes = json.loads(line)
        found[content, times[content]] = (split, boxes)
        times[content] += 1
    return found


def _boxes(truth: Detections) -> list[list[object]]:
    rows = zip(truth.labels, truth.boxes_xyxy.astype(float).tolist(), strict=True)
    # NOTE: adding 0.0 turns -0.0, which prints otherwise, into 0.0.
    return sorted([label, *(round(side, _DIGITS) + 0.0 for side in box)] for label, box in rows)
