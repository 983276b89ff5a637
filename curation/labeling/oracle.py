"""The oracle: a labeler that answers from held-back ground truth, in place of a person.

It serves replays and demonstrations. It reads only the samples of the requested round: samples
that the ensemble has not chosen stay unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.protocol import PushResult, SampleAnnotation, Status, Task
from curation.storage import tags

ReadAnswers = Callable[[Sequence[str]], Mapping[str, Detections | None]]


class Oracle:
    """A labeler that knows the ground truth.

    Args:
        read: Returns the held-back boxes of the given samples, in the classes of the taxonomy;
            None, or no entry, for a sample without held-back ground truth.
    """

    def __init__(self, read: ReadAnswers) -> None:
        self._read = read
        self._pushed: dict[str, dict[str, None]] = {}  # round -> sample ids, in order

    @property
    def name(self) -> str:
        """Name in records."""
        return "oracle"

    @property
    def instructions(self) -> str:
        """Reason why tasks wait."""
        return "No ground truth is held back for them."

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Record the samples to answer for."""
        new = 0
        for task in tasks:
            ids = self._pushed.setdefault(tags.round_name(task.round), {})
            new += task.sample_id not in ids
            ids[task.sample_id] = None
        return PushResult(pushed=new, existing=len(tasks) - new, location="held-back ground truth")

    def pull(self, round_name: str) -> list[SampleAnnotation]:
        """Return the held-back ground truth of the pushed samples."""
        ids = self._ids(round_name)
        answers = self._read(ids)
        return [
            SampleAnnotation(sample_id, boxes, annotator=self.name, seconds=None, complete=True)
            for sample_id in ids
            if (boxes := answers.get(sample_id)) is not None
        ]

    def status(self, round_name: str) -> Status:
        """Return the number of samples with held-back ground truth."""
        return Status(
            tasks=len(self._ids(round_name)),
            submitted=len(self.pull(round_name)),
            doubtful=0,
        )

    def _ids(self, round_name: str) -> list[str]:
        if round_name not in self._pushed:
            raise LabelingError(f"The oracle has no tasks of {round_name}. Push them first.")
        return list(self._pushed[round_name])
