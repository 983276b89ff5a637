"""The protocol of labeling backends, with the values that they take and return.

Only submissions become ground truth: an empty submission means "nothing there", a missing one
"not labeled", and a prediction is never read back as a label.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cascade.predictions import Detections
from curation.errors import LabelingError

_ALTERNATIVES = {
    "video": "Take frames first: `curate ingest FOLDER_OF_VIDEOS --name NAME --fps 1`.",
    "group": "Take one slice first: `dataset.select_group_slices('SLICE').clone('NAME')`.",
    "mixed": "Put the images into a separate dataset.",
}


@dataclass(frozen=True, eq=False)
class Task:
    """One sample to label.

    Attributes:
        sample_id: Sample id, which a backend returns unchanged.
        filepath: Path of the image.
        width: Width of the upright image, in pixels.
        height: Height of the upright image, in pixels.
        round: Number of the round that chose the sample, from 1.
        rank: Rank in the batch; 1 is labeled first.
        arm: `hard`, `coverage`, `slice` or `random`.
        hardness: In [0, 1], higher is harder; None in a round without hardness.
        because: Reason for the choice, in words.
        predictions: Boxes of the ensemble, as pre-annotations.
        slices: Slices of the sample, such as `time_of_day=night, weather=rain`; may be empty.
    """

    sample_id: str
    filepath: str
    width: int
    height: int
    round: int
    rank: int
    arm: str
    hardness: float | None
    because: str
    predictions: Detections
    slices: str = ""


@dataclass(frozen=True)
class Doubt:
    """Part of a submission that cannot be imported and needs review by a person.

    Attributes:
        subject: The label or row as submitted.
        reason: What is wrong with it, and how to fix it.
    """

    subject: str
    reason: str


@dataclass(frozen=True, eq=False)
class SampleAnnotation:
    """A submission for one sample.

    Attributes:
        sample_id: The sample.
        boxes: Boxes in the classes of the taxonomy; empty means "nothing there".
        annotator: Name of the person or oracle.
        seconds: Labeling time, if measured.
        complete: Whether `boxes` contains the whole submission. Incomplete boxes must not become
            ground truth: they would teach that nothing is where the doubts are.
        doubts: Parts of the submission that are not in `boxes`.
    """

    sample_id: str
    boxes: Detections
    annotator: str
    seconds: float | None
    complete: bool
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class PushResult:
    """Result of a push.

    Attributes:
        pushed: Number of tasks that are new to the backend.
        existing: Number of tasks that the backend already had.
        location: Folder or URL of the tasks.
    """

    pushed: int
    existing: int
    location: str


@dataclass(frozen=True)
class Status:
    """Progress of a round.

    Attributes:
        tasks: Number of tasks that the backend has.
        submitted: Number of tasks with a submission, complete or doubtful.
        doubtful: Number of tasks whose submission needs review.
        strangers: Names of submissions that belong to no task.
    """

    tasks: int
    submitted: int
    doubtful: int
    strangers: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        """Number of tasks without a submission."""
        return self.tasks - self.submitted


@runtime_checkable
class Labeler(Protocol):
    """A labeling backend. Every method is idempotent."""

    @property
    def name(self) -> str:
        """Name in records, such as `oracle`."""
        ...

    @property
    def instructions(self) -> str:
        """A sentence that says where the tasks wait for labels."""
        ...

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Submit the tasks of one round; existing tasks stay unchanged."""
        ...

    def pull(self, round_name: str) -> list[SampleAnnotation]:
        """Return all submissions so far for a round such as `round-01`."""
        ...

    def status(self, round_name: str) -> Status:
        """Return the progress of a round."""
        ...


@runtime_checkable
class ImportTrackingLabeler(Protocol):
    """A labeler that records which submissions were imported, to recognize new ones later."""

    def mark_imported(self, round_name: str, sample_ids: Collection[str]) -> None:
        """Record that the last `pull` of these samples became ground truth."""
        ...


@runtime_checkable
class WithdrawableLabeler(Protocol):
    """A labeler that can withdraw a round. Idempotent."""

    def withdraw(self, round_name: str) -> str:
        """Withdraw the tasks of a round such as `round-01`, and return a sentence on the result.

        Submissions are moved aside or kept in place, never deleted.
        """
        ...


def require_images(name: str, media_type: str | None) -> None:
    """Reject a dataset whose samples are not single images.

    Args:
        name: Name of the dataset, for the message.
        media_type: FiftyOne's media type; None, for a dataset without samples, is accepted.

    Raises:
        LabelingError: The dataset has another media type.
    """
    if media_type in (None, "image"):
        return
    alternative = _ALTERNATIVES.get(str(media_type), "Only images can be labeled.")
    raise LabelingError(f"{name!r} is a dataset of media type {media_type!r}. {alternative}")
