"""Conversion of tasks to CVAT's labels and shapes, and of jobs and shapes to submissions. Pure.

The dictionaries follow CVAT's REST schema (2.x). Frames are named after their sample, independent
of their order. A completed job submits all of its frames; a frame without shapes shows nothing.
Frames of other jobs wait, even if they have shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cascade.taxonomy import Taxonomy
from curation.labeling import palette
from curation.labeling.protocol import Doubt, Task
from curation.labeling.submissions import Box, Submission, build_submission
from curation.storage import conversions

_COMPLETED = "completed"
_ANNOTATION = "annotation"  # the kind of job in which people label; other kinds check them


@dataclass(frozen=True)
class Frame:
    """One image of a CVAT task.

    Attributes:
        number: Index in the task, from 0.
        name: File name.
        width: Width in pixels.
        height: Height in pixels.
    """

    number: int
    name: str
    width: int
    height: int

    @property
    def sample_id(self) -> str:
        """Sample id, from the file name."""
        return PurePosixPath(self.name.replace("\\", "/")).stem


@dataclass(frozen=True)
class Job:
    """A range of frames that one person labels.

    Attributes:
        first: First frame.
        last: Last frame.
        kind: `annotation`, `ground_truth` or `consensus_replica`.
        state: `new`, `in progress`, `completed` or `rejected`.
        annotator: Name of the assignee; `cvat` for an unassigned job.
    """

    first: int
    last: int
    kind: str
    state: str
    annotator: str

    def __contains__(self, frame: int) -> bool:
        return self.first <= frame <= self.last


def file_name(task: Task) -> str:
    """Return the file name of a task's image in CVAT."""
    return task.sample_id + PurePosixPath(task.filepath.replace("\\", "/")).suffix.lower()


def class_labels(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the labels of a task: boxes of each class, in distinct colors."""
    colors = palette.distinct_colors(len(classes))
    return [
        {"name": name, "color": color, "type": "rectangle", "attributes": []}
        for name, color in zip(classes, colors, strict=True)
    ]


def predicted_shapes(
    task: Task, frame: Frame, label_ids: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the predictions as shapes of a frame; unknown labels are left out."""
    corners = conversions.to_pixels(
        task.predictions.boxes_xyxy, (frame.height, frame.width)
    ).tolist()
    return [
        {
            "type": "rectangle",
            "label_id": label_ids[label],
            "frame": frame.number,
            "points": box,
            "rotation": 0.0,
            "occluded": False,
            "outside": False,
            "z_order": 0,
            "source": "auto",
            "attributes": [],
        }
        for label, box in zip(task.predictions.labels, corners, strict=True)
        if label in label_ids
    ]


def read_submissions(
    frames: Iterable[Frame],
    jobs: Sequence[Job],
    annotations: Mapping[str, Any],
    *,
    label_names: Mapping[int, str],
    taxonomy: Taxonomy,
    deleted: Iterable[int] = (),
) -> dict[str, Submission]:
    """Return the submissions of the completed jobs of a task, by sample.

    Args:
        frames: Frames of the task.
        jobs: Jobs of the task.
        annotations: Body of `GET /api/tasks/{id}/annotations/`.
        label_names: Name of each label of the task, by label id.
        taxonomy: Classes of the dataset.
        deleted: Frames that were deleted from the task.
    """
    shapes_of = _by_frame(annotations)
    removed = set(deleted)
    result: dict[str, Submission] = {}
    for frame in frames:
        owners = [job for job in jobs if job.kind == _ANNOTATION and frame.number in job]
        completed = bool(owners) and all(job.state == _COMPLETED for job in owners)
        if frame.number in removed or not completed:
            continue
        result[frame.sample_id] = build_submission(
            [_box(shape, frame, label_names) for shape in shapes_of.get(frame.number, ())],
            taxonomy=taxonomy,
            annotator=owners[0].annotator,
        )
    return result


def _by_frame(annotations: Mapping[str, Any]) -> dict[int, list[Mapping[str, Any]]]:
    """Return shapes, tags and the shapes of tracks by their frame, in that order."""
    tracked = [
        {**shape, "type": "track", "label_id": track.get("label_id")}
        for track in annotations.get("tracks") or ()
        for shape in track.get("shapes") or ()
    ]
    tags = [{**tag, "type": "tag"} for tag in annotations.get("tags") or ()]
    by_frame: dict[int, list[Mapping[str, Any]]] = {}
    for shape in [*(annotations.get("shapes") or ()), *tags, *tracked]:
        by_frame.setdefault(int(shape["frame"]), []).append(shape)
    return by_frame


def _box(shape: Mapping[str, Any], frame: Frame, names: Mapping[int, str]) -> Box | Doubt:
    label = names.get(shape.get("label_id") or 0)
    if label is None:
        return Doubt(f"label {shape.get('label_id')}", "The task has no such label.")
    kind = str(shape.get("type"))
    if kind != "rectangle":
        return Doubt(label, f"Only boxes are imported, got a {kind}.")
    if shape.get("rotation"):
        return Doubt(label, "The box is rotated. Draw it upright.")
    points = shape.get("points") or ()
    if len(points) != 4:
        return Doubt(label, f"A box must have four numbers, got {len(points)}.")
    relative = conversions.from_pixels(np.array(points, np.float64), (frame.height, frame.width))
    return Box(label, *relative[0].tolist())
