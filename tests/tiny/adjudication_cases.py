"""A doubtful case, and scripted models of the adjudicator."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cascade import taxonomy
from cascade.adjudication.case import Case
from cascade.geometry.sizes import Sizes
from cascade.models.language.reply_parser import Reply, Token
from cascade.predictions import Answer, Detections

TAXONOMY = taxonomy.parse(
    """
    name: street
    decision: {name: works, question: 'Is there road work?'}
    classes:
      - {name: cone, decides: true, synonyms: [traffic cone], height_m: [0.3, 1.1]}
      - {name: drum, decides: true}
      - {name: car}
    """
)
CONE, DRUM, CAR = range(3)


def detections(
    *rows: tuple[tuple[float, ...], float, int], classes: Sequence[str] = TAXONOMY.names
):
    """Return the detections with rows `(box, score, class index)`."""
    return Detections(
        boxes_xyxy=np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[1] for row in rows], np.float32),
        class_ids=np.array([row[2] for row in rows], np.int64),
        classes=tuple(classes),
    )


LEFT, RIGHT = (0.1, 0.4, 0.2, 0.6), (0.7, 0.4, 0.8, 0.6)


def case(**overrides: Any) -> Case:
    """Return a case: `yolo` sees a cone at left, `detr` a car at right, `coco` names only cars."""
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 20:40] = 255  # LEFT
    defaults: dict[str, Any] = {
        "id": "x",
        "taxonomy": TAXONOMY,
        "p": 0.4,
        "agreement": 0.5,
        "image": image,
        "detections": {
            "yolo": detections((RIGHT, 0.3, CAR), (LEFT, 0.8, CONE)),
            "detr": detections((RIGHT, 0.9, CAR)),
            "coco": detections(((0.0, 0.0, 0.1, 0.1), 0.2, 0), classes=("car",)),
        },
        "objects": detections((RIGHT, 0.3, CAR), (LEFT, 0.6, CONE)),
        "sizes": Sizes(
            distance_m=np.array([np.nan, 10.0]),
            height_m=np.array([np.nan, 3.0]),
            width_m=np.array([np.nan, 0.5]),
            tolerance=np.array([0.2, 0.2]),
            plausible=np.array([True, False]),
        ),
        "masked": ("cone",),
        "answers": {"vlm": Answer(p_yes=0.7, reason="A cone.", objects=("traffic cone",))},
    }
    return Case(**(defaults | overrides))


def turn(*operations: Mapping[str, Any]) -> str:
    """Return the reply with these operations."""
    return json.dumps({"do": operations})


def verdict(p_yes: float, reason: str = "Seen.") -> str:
    """Return the reply that ends a question."""
    return turn({"op": "verdict", "p_yes": p_yes, "reason": reason})


def look(box: str = "o1", question: str = "Is it a cone?") -> dict[str, str]:
    """Return a look operation on a box."""
    return {"op": "look", "box": box, "question": question}


def recurse(
    region: Sequence[float] = (0.0, 0.0, 0.5, 1.0), question: str = "Is it a cone?"
) -> dict[str, Any]:
    """Return a recurse operation."""
    return {"op": "recurse", "region": list(region), "question": question}


class ScriptedPlanner:
    """Returns its replies in order, and repeats the last one.

    Attributes:
        calls: Messages of every call.
    """

    def __init__(self, *replies: str, tokens: int = 0) -> None:
        self._replies, self._tokens = replies, tokens
        self.calls: list[list[Mapping[str, str]]] = []

    async def reply(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]):
        """Return the next reply."""
        self.calls.append(list(messages))
        text = self._replies[min(len(self.calls), len(self._replies)) - 1]
        return Reply(text, tokens=(Token("x"),) * self._tokens)

    @property
    def inputs(self) -> list[Any]:
        """The JSON in the last message of every call."""
        return [json.loads(messages[-1]["content"]) for messages in self.calls]


class ScriptedVisionModel:
    """Answers with a function; by default yes with probability 0.9.

    Attributes:
        looks: Every crop and question.
    """

    def __init__(self, answer: Callable[[Any, str], Answer] | None = None) -> None:
        self._answer = answer or (lambda crop, question: Answer(p_yes=0.9, reason="Orange."))
        self.looks: list[tuple[Any, str]] = []

    async def look(self, crop: Any, question: str) -> Answer:
        """Return the answer."""
        self.looks.append((crop, question))
        return self._answer(crop, question)
