"""A task as Label Studio imports it: the image, why it is here, and what the ensemble believes.

The reasons are columns of the task, so that the Data Manager sorts and filters by them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.label_studio import label_config
from curation.labeling.protocol import Task
from curation.labeling.tasks import in_classes
from curation.storage import conversions

KEY = "task_key"
SAMPLE_ID = "sample_id"
BLURRED = "blurred"

_KEY_DIGITS = 32
_ID_DIGITS = 10
_BRACKETS, _COMMA = 2, 2  # bytes that a list takes, and that each further entry takes


def task_key(dataset: str, round_number: int, sample_id: str) -> str:
    """Return what a sample is called in a round, wherever it is pushed to: 32 hex digits."""
    return _digest([dataset, round_number, sample_id])[:_KEY_DIGITS]


def to_task(
    task: Task,
    *,
    key: str,
    image_url: str,
    model_version: str,
    taxonomy: Taxonomy,
    blurred: str = "",
) -> dict[str, Any]:
    """Return the JSON of a task.

    How many people are to label it is no property of a task in Label Studio's open edition:
    set `maximum_annotations` of the project.

    Args:
        task: What is to be labeled; its size is that of the upright image.
        key: See `task_key`.
        image_url: Where the server, or the browser, gets the image.
        model_version: What the pre-annotations are shown as.
        taxonomy: Boxes whose label means none of its classes are left out: the config has no
            label for them.
        blurred: What was hidden in the image; empty where nobody asked for it.

    Returns:
        The task. Without boxes it has no prediction: "found nothing" and "did not run" look
        the same here, and neither helps who labels.
    """
    regions = _regions(task, key, taxonomy)
    scores = [one["score"] for one in regions]
    prediction = {
        "model_version": model_version,
        "score": math.fsum(scores) / max(len(scores), 1),
        "result": regions,
    }
    return {
        "data": {
            label_config.IMAGE: image_url,
            SAMPLE_ID: task.sample_id,
            KEY: key,
            "round": task.round,
            "rank": task.rank,
            "arm": task.arm,
            "hardness": task.hardness,
            "reason": task.because,
            "slice": task.slices,
            "model_version": model_version,
            **({BLURRED: blurred} if blurred else {}),
        },
        "predictions": [prediction] if regions else [],
    }


def chunked(
    tasks: Iterable[Mapping[str, Any]], *, max_bytes: int, max_count: int
) -> Iterator[list[Mapping[str, Any]]]:
    """Yield tasks in lists, in order, none larger than a request may be; read as they are asked.

    Args:
        tasks: As `to_task` gives them.
        max_bytes: Of one list as JSON. It is counted with every character escaped and a space
            after every comma, so it holds however the list is written.
        max_count: Tasks in one list.

    Raises:
        LabelingError: One task alone is too large, or holds what JSON cannot say.
    """
    if max_count < 1:
        raise LabelingError(f"max_count must be 1 or more, got {max_count}.")
    chunk: list[Mapping[str, Any]] = []
    size = _BRACKETS
    for task in tasks:
        own = _size(task)
        if _BRACKETS + own > max_bytes:
            raise LabelingError(
                f"The task {task['data'].get(KEY)} takes {own} bytes, more than the {max_bytes} "
                "of a request. Let the server fetch the image by its address."
            )
        if chunk and (len(chunk) == max_count or size + _COMMA + own > max_bytes):
            yield chunk
            chunk, size = [], _BRACKETS
        size += own + (_COMMA if chunk else 0)
        chunk.append(task)
    if chunk:
        yield chunk


def _regions(task: Task, key: str, taxonomy: Taxonomy) -> list[dict[str, Any]]:
    found = in_classes(task.predictions, taxonomy)
    corners = conversions.inside(found.boxes_xyxy)
    percents = conversions.to_percent(conversions.xyxy_to_xywh(corners)).tolist()
    control = label_config.CONTROLS["boxes"]
    kind = control.tag.lower()
    return [
        {
            "id": _digest([key, i])[:_ID_DIGITS],
            "type": kind,
            "from_name": control.name,
            "to_name": label_config.IMAGE,
            "original_width": task.width,
            "original_height": task.height,
            "image_rotation": 0,
            "score": float(found.scores[i]),
            "value": {
                **dict(zip(("x", "y", "width", "height"), percent, strict=True)),
                "rotation": 0,
                kind: [found.labels[i]],
            },
        }
        for i, percent in enumerate(percents)
    ]


def _size(task: Mapping[str, Any]) -> int:
    try:
        return len(json.dumps(task, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise LabelingError(f"A task cannot be written as JSON: {error}.") from error


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
