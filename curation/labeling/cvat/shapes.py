"""Tasks as CVAT's labels and shapes, and CVAT's jobs and shapes as submissions. All of it pure.

The dictionaries are those of CVAT's REST schema (2.x). A frame is named after its sample, so that
nothing depends on its place. A job that somebody completed submits all of its frames: one without
shapes shows nothing. Frames of other jobs wait, whatever is drawn in them.
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
from curation.labeling.submissions import Box, Submission, understand
from curation.storage import conversions

_DONE = "completed"
_OURS = "annotation"  # the kind of job that people label in; others check them


@dataclass(frozen=True)
class Frame:
    """One image of a CVAT task.

    Attributes:
        number: Its place in the task, from 0.
        name: Its file name.
        width: In pixels.
        height: In pixels.
    """

    number: int
    name: str
    width: int
    height: int

    @property
    def sample_id(self) -> str:
        """Whose image it is."""
        return PurePosixPath(self.name.replace("\\", "/")).stem


@dataclass(frozen=True)
class Job:
    """A stretch of frames that one person labels.

    Attributes:
        first: Its first frame.
        last: Its last frame.
        kind: `annotation`, `ground_truth` or `consensus_replica`.
        state: `new`, `in progress`, `completed` or `rejected`.
        annotator: To whom it is assigned; `cvat` where to nobody.
    """

    first: int
    last: int
    kind: str
    state: str
    annotator: str

    def holds(self, frame: int) -> bool:
        """Return whether a frame belongs to it."""
        return self.first <= frame <= self.last


def file_name(task: Task) -> str:
    """Return what the image of a task is called in CVAT."""
    return task.sample_id + PurePosixPath(task.filepath.replace("\\", "/")).suffix.lower()


def labels(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the labels that a task offers: boxes of each class, in distinct colours."""
    colours = palette.distinct(len(classes))
    return [
        {"name": name, "color": colour, "type": "rectangle", "attributes": []}
        for name, colour in zip(classes, colours, strict=True)
    ]


def shapes(task: Task, frame: Frame, label_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what the ensemble believes as shapes of a frame; unknown labels are left out."""
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


def submissions(
    frames: Iterable[Frame],
    jobs: Sequence[Job],
    annotations: Mapping[str, Any],
    *,
    label_names: Mapping[int, str],
    taxonomy: Taxonomy,
    deleted: Iterable[int] = (),
) -> dict[str, Submission]:
    """Return what the completed jobs of a task say, by sample.

    Args:
        frames: Of the task.
        jobs: Of the task.
        annotations: The body of `GET /api/tasks/{id}/annotations/`.
        label_names: Of the task's labels, by their number.
        taxonomy: What they mean.
        deleted: Frames that somebody took out of the task.
    """
    drawn = _by_frame(annotations)
    gone = set(deleted)
    found: dict[str, Submission] = {}
    for frame in frames:
        owners = [one for one in jobs if one.kind == _OURS and one.holds(frame.number)]
        if frame.number in gone or not owners or any(one.state != _DONE for one in owners):
            continue
        found[frame.sample_id] = understand(
            [_box(one, frame, label_names) for one in drawn.get(frame.number, ())],
            taxonomy=taxonomy,
            annotator=owners[0].annotator,
        )
    return found


def _by_frame(annotations: Mapping[str, Any]) -> dict[int, list[Mapping[str, Any]]]:
    """Return shapes, tags and the shapes of tracks by their frame, in that order."""
    tracked = [
        {**shape, "type": "track", "label_id": track.get("label_id")}
        for track in annotations.get("tracks") or ()
        for shape in track.get("shapes") or ()
    ]
    tags = [{**tag, "type": "tag"} for tag in annotations.get("tags") or ()]
    found: dict[int, list[Mapping[str, Any]]] = {}
    for one in [*(annotations.get("shapes") or ()), *tags, *tracked]:
        found.setdefault(int(one["frame"]), []).append(one)
    return found


def _box(shape: Mapping[str, Any], frame: Frame, names: Mapping[int, str]) -> Box | Doubt:
    label = names.get(shape.get("label_id") or 0)
    if label is None:
        return Doubt(what=f"label {shape.get('label_id')}", reason="The task has no such label.")
    kind = str(shape.get("type"))
    if kind != "rectangle":
        return Doubt(what=label, reason=f"Only boxes are taken over, got a {kind}.")
    if shape.get("rotation"):
        return Doubt(what=label, reason="The box is turned. Draw it upright.")
    points = shape.get("points") or ()
    if len(points) != 4:
        return Doubt(what=label, reason=f"A box has four numbers, got {len(points)}.")
    relative = conversions.from_pixels(np.array(points, np.float64), (frame.height, frame.width))
    return Box(label, *relative[0].tolist())
