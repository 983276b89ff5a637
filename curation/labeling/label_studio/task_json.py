"""Tasks in Label Studio's import format: image, reason for the choice, and pre-annotations.

The reasons are columns of the task, by which the Data Manager can sort and filter.
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
from curation.labeling.label_studio.batching import batches
from curation.labeling.protocol import Task
from curation.labeling.tasks import to_taxonomy
from curation.storage import conversions

KEY = "task_key"
SAMPLE_ID = "sample_id"
BLURRED = "blurred"

_KEY_DIGITS = 32
_ID_DIGITS = 10


def task_key(dataset: str, round_number: int, sample_id: str) -> str:
    """Return the key of a sample in a round, the same on every server: 32 hex digits."""
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

    The number of annotators per task is not a property of tasks in Label Studio's open edition:
    set `maximum_annotations` of the project.

    Args:
        task: The task; its size is that of the upright image.
        key: Key from `task_key`.
        image_url: URL of the image for the server or the browser.
        model_version: Version shown with the pre-annotations.
        taxonomy: Classes of the config; boxes of other classes are left out.
        blurred: What was blurred in the image; empty if nothing was.

    Returns:
        The task. Without boxes it has no prediction.
    """
    regions = _regions(task, key, taxonomy)
    scores = [region["score"] for region in regions]
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
    """Return tasks in lists that fit in a request, in order; the input is consumed lazily.

    Args:
        tasks: Tasks from `to_task`.
        max_bytes: Maximum size of a list as JSON. Sizes are counted with every character escaped
            and a space after every comma, an upper bound for any way of writing.
        max_count: Maximum number of tasks in a list.

    Raises:
        LabelingError: A single task is too large, or cannot be written as JSON.
    """
    if max_count < 1:
        raise LabelingError(f"max_count must be 1 or more, got {max_count}.")

    def size_of(task: Mapping[str, Any]) -> int:
        # A list takes 2 bytes for its brackets and for each separator: 2 more than each task.
        size = _json_size(task) + 2
        if size > max_bytes:
            raise LabelingError(
                f"The task {task['data'].get(KEY)} has {size - 2} bytes, more than the limit of "
                f"{max_bytes} per request. Let the server fetch the image by its URL."
            )
        return size

    return batches(tasks, size_of, max_size=max_bytes, max_count=max_count)


def _regions(task: Task, key: str, taxonomy: Taxonomy) -> list[dict[str, Any]]:
    boxes = to_taxonomy(task.predictions, taxonomy)
    corners = conversions.inside(boxes.boxes_xyxy)
    percents = conversions.to_percent(conversions.xyxy_to_xywh(corners)).tolist()
    kind = label_config.BOX_TAG.lower()
    return [
        {
            "id": _digest([key, i])[:_ID_DIGITS],
            "type": kind,
            "from_name": label_config.BOX,
            "to_name": label_config.IMAGE,
            "original_width": task.width,
            "original_height": task.height,
            "image_rotation": 0,
            "score": float(boxes.scores[i]),
            "value": {
                **dict(zip(("x", "y", "width", "height"), percent, strict=True)),
                "rotation": 0,
                kind: [boxes.labels[i]],
            },
        }
        for i, percent in enumerate(percents)
    ]


def _json_size(task: Mapping[str, Any]) -> int:
    try:
        return len(json.dumps(task, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise LabelingError(f"Cannot write a task as JSON: {error}.") from error


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
