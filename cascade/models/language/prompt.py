"""Prompt of a language model about an image: instructions, crops, and schema of the answer.

The question lists the detectors' boxes, since language models hallucinate less with them [0].

- [0] Ghosh et al., ROADWork, ICCV 2025
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy

_SYSTEM = """\
You check images for a data set. You get one image, sometimes close-ups of places in it, and \
what object detectors say about it. Detectors err: they miss things and see things that are not \
there. Look for yourself and judge by the image alone.
Answer in JSON with three keys. "answer": "yes" or "no", to the question. "objects": those of \
{names} that you see, each once; an empty list where you see none. "reason": one short sentence \
on what you see."""
_MAX_REASON = 160  # characters; limits an answer to about a hundred tokens
_MIN_SCORE = 0.05  # equals the consensus' threshold of a vote
_SIDES = ("at left", "in the middle", "at right")
_CROP_SCALE = 2.0  # ratio of a crop's side to its box: includes the surroundings
_MIN_SIDE = 0.08  # of the image; includes the surroundings of a tiny box


@dataclass(frozen=True)
class Crop:
    """Region of the image that is also shown as a close-up.

    Attributes:
        xyxy: Relative corners, in [0, 1].
        caption: Description by the detectors.
    """

    xyxy: tuple[float, float, float, float]
    caption: str


def system_text(taxonomy: Taxonomy) -> str:
    """Return the instructions, equal for every image, which lets a server cache them."""
    return _SYSTEM.format(names=", ".join(taxonomy.names))


def schema(taxonomy: Taxonomy) -> dict[str, Any]:
    """Return the JSON schema of the answer.

    `answer` comes first: its probability is then independent of the model's own reasoning, and a
    truncated answer still contains it.
    """
    names = list(taxonomy.names)
    return {
        "type": "object",
        "properties": {
            "answer": {"type": "string", "enum": ["yes", "no"]},
            "objects": {
                "type": "array",
                "items": {"type": "string", "enum": names},
                "maxItems": len(names),
            },
            "reason": {"type": "string", "maxLength": _MAX_REASON},
        },
        "required": ["answer", "objects", "reason"],
        "additionalProperties": False,
    }


def user_text(taxonomy: Taxonomy, detections: Detections | None, crops: Sequence[Crop] = ()) -> str:
    """Return the text about one image: the detections as context [0], then the question.

    Args:
        taxonomy: Source of the question.
        detections: Detections of earlier tiers; None if there are none.
        crops: Close-ups shown after the full image.
    """
    lines = [] if detections is None else [f"The detectors say: {describe(detections)}."]
    lines += [f"Close-up {i} shows {crop.caption}." for i, crop in enumerate(crops, start=1)]
    return "\n".join([*lines, taxonomy.decision.question])


def describe(detections: Detections) -> str:
    """Return the boxes in words: `2 cone at left (0.83), 1 worker in the middle (0.41)`.

    Boxes are counted by class and third of the image. Groups are in descending order of their
    best score, which is in parentheses.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    rows = zip(detections.labels, detections.scores, detections.boxes_xyxy, strict=True)
    for label, score, box in rows:
        if score >= _MIN_SCORE:
            groups[f"{label} {_side(box)}"].append(float(score))
    best_first = sorted(groups.items(), key=lambda group: -max(group[1]))
    parts = (f"{len(scores)} {name} ({max(scores):.2f})" for name, scores in best_first)
    return ", ".join(parts) or "nothing found"


def select_crops(detections: Detections, count: int) -> tuple[Crop, ...]:
    """Return up to `count` regions for close-ups.

    Boxes of medium score (uncertain) and small boxes (distant, with few pixels) come first. A box
    within an earlier crop is skipped.
    """
    boxes = detections.boxes_xyxy.astype(np.float64)
    scores = detections.scores.astype(np.float64)
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    priority = (1 - np.abs(2 * scores - 1)) + (1 - sides)
    crops: list[Crop] = []
    for i in np.argsort(-priority, kind="stable"):
        if len(crops) == count:
            break
        if scores[i] < _MIN_SCORE or any(_contains(crop, boxes[i]) for crop in crops):
            continue
        caption = f"what may be {detections.labels[i]} {_side(boxes[i])} ({scores[i]:.2f})"
        crops.append(Crop(_crop_region(boxes[i]), caption))
    return tuple(crops)


def _side(box: np.ndarray[Any, Any]) -> str:
    return _SIDES[min(int((box[0] + box[2]) / 2 * 3), 2)]


def _crop_region(box: np.ndarray[Any, Any]) -> tuple[float, float, float, float]:
    """Return a region around a box, within the image."""
    width, height = (max(_CROP_SCALE * (box[i + 2] - box[i]), _MIN_SIDE) for i in (0, 1))
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return (
        float(max(0.0, x - width / 2)),
        float(max(0.0, y - height / 2)),
        float(min(1.0, x + width / 2)),
        float(min(1.0, y + height / 2)),
    )


def _contains(crop: Crop, box: np.ndarray[Any, Any]) -> bool:
    x1, y1, x2, y2 = crop.xyxy
    return bool(x1 <= box[0] and y1 <= box[1] and box[2] <= x2 and box[3] <= y2)
