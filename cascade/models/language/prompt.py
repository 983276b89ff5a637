"""How a language model is asked about an image: the words, the crops, the form of the answer.

What detectors found is part of the question: told so, language models imagine less [0].

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
_LONGEST_REASON = 160  # characters; keeps an answer within about a hundred tokens
_LEAST_SCORE = 0.05  # as the consensus: what is below is no vote, and not told
_SIDES = ("at left", "in the middle", "at right")
_ROUNDABOUT = 2.0  # a crop's side over that of its box: a cone alone has no road around it
_LEAST_SIDE = 0.08  # of the image: a crop around a tiny box still shows where it stands


@dataclass(frozen=True)
class Crop:
    """A place in the image that is shown once more, closer.

    Attributes:
        xyxy: Its relative corners, in [0, 1].
        caption: What the detectors say is there.
    """

    xyxy: tuple[float, float, float, float]
    caption: str


def system_text(taxonomy: Taxonomy) -> str:
    """Return the instructions: the same for every image, so that a server keeps them cached."""
    return _SYSTEM.format(names=", ".join(taxonomy.names))


def schema(taxonomy: Taxonomy) -> dict[str, Any]:
    """Return the JSON schema of the answer.

    `answer` comes first: its probability is then the model's, unmoved by its own reasoning, and
    an answer that is cut off still has it.
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
            "reason": {"type": "string", "maxLength": _LONGEST_REASON},
        },
        "required": ["answer", "objects", "reason"],
        "additionalProperties": False,
    }


def user_text(taxonomy: Taxonomy, found: Detections | None, crops: Sequence[Crop] = ()) -> str:
    """Return what is said about one image: the detections as context [0], then the question.

    Args:
        taxonomy: Whose question is asked.
        found: What earlier tiers found; None where none ran.
        crops: The close-ups that are shown after the whole image.
    """
    lines = [] if found is None else [f"The detectors say: {described(found)}."]
    lines += [f"Close-up {i} shows {one.caption}." for i, one in enumerate(crops, start=1)]
    return "\n".join([*lines, taxonomy.decision.question])


def described(found: Detections) -> str:
    """Return the boxes in words: `2 cone at left (0.83), 1 worker in the middle (0.41)`.

    Counted by class and third of the image, surest first; the number is the best score.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for label, score, box in zip(found.labels, found.scores, found.boxes_xyxy, strict=True):
        if score >= _LEAST_SCORE:
            groups[f"{label} {_side(box)}"].append(float(score))
    best_first = sorted(groups.items(), key=lambda group: -max(group[1]))
    return ", ".join(f"{len(all_)} {what} ({max(all_):.2f})" for what, all_ in best_first) or (
        "nothing found"
    )


def crops_of(found: Detections, count: int) -> tuple[Crop, ...]:
    """Return up to `count` places that deserve a closer look.

    First come boxes of middling score (the detectors waver) and small ones (far away, and only
    a few pixels of the whole image). A box that lies in a crop already gets none of its own.
    """
    boxes, scores = found.boxes_xyxy.astype(np.float64), found.scores.astype(np.float64)
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    worth = (1 - np.abs(2 * scores - 1)) + (1 - sides)
    chosen: list[Crop] = []
    for i in np.argsort(-worth, kind="stable"):
        if len(chosen) == count:
            break
        if scores[i] < _LEAST_SCORE or any(_holds(one, boxes[i]) for one in chosen):
            continue
        caption = f"what may be {found.labels[i]} {_side(boxes[i])} ({scores[i]:.2f})"
        chosen.append(Crop(_around(boxes[i]), caption))
    return tuple(chosen)


def _side(box: np.ndarray[Any, Any]) -> str:
    return _SIDES[min(int((box[0] + box[2]) / 2 * 3), 2)]


def _around(box: np.ndarray[Any, Any]) -> tuple[float, float, float, float]:
    """Return a place around a box, within the image."""
    width, height = (max(_ROUNDABOUT * (box[i + 2] - box[i]), _LEAST_SIDE) for i in (0, 1))
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return (
        float(max(0.0, x - width / 2)),
        float(max(0.0, y - height / 2)),
        float(min(1.0, x + width / 2)),
        float(min(1.0, y + height / 2)),
    )


def _holds(crop: Crop, box: np.ndarray[Any, Any]) -> bool:
    x1, y1, x2, y2 = crop.xyxy
    return bool(x1 <= box[0] and y1 <= box[1] and box[2] <= x2 and box[3] <= y2)
