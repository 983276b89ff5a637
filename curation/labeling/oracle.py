"""The oracle: answers from ground truth that was held back. A named stand-in for a person.

It serves replays and demonstrations. It is asked for the samples of one round and reads
nothing of the others: what the ensemble has not chosen stays unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.protocol import Annotated, PushResult, Status, Task
from curation.storage import tags

ReadAnswers = Callable[[Sequence[str]], Mapping[str, Detections | None]]


class Oracle:
    """A labeler that knows the answers.

    Args:
        read: Returns the held-back boxes of the samples that it is asked for, in the classes
            of the taxonomy; None, or no entry, where nothing is held back for a sample.
    """

    def __init__(self, read: ReadAnswers) -> None:
        self._read = read
        self._asked: dict[str, dict[str, None]] = {}  # round -> sample ids, in order

    @property
    def name(self) -> str:
        """What records call it."""
        return "oracle"

    @property
    def where(self) -> str:
        """Why tasks wait: there is nobody else to ask."""
        return "No ground truth is held back for them."

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Remember which samples it may answer for."""
        new = 0
        for task in tasks:
            asked = self._asked.setdefault(tags.round_name(task.round), {})
            new += task.sample_id not in asked
            asked[task.sample_id] = None
        return PushResult(pushed=new, existing=len(tasks) - new, where="held-back ground truth")

    def pull(self, round_name: str) -> list[Annotated]:
        """Return the held-back ground truth of the samples that were pushed."""
        ids = self._pushed(round_name)
        answers = self._read(ids)
        return [
            Annotated(sample_id=one, boxes=boxes, annotator=self.name, seconds=None, complete=True)
            for one in ids
            if (boxes := answers.get(one)) is not None
        ]

    def status(self, round_name: str) -> Status:
        """Say for how many samples of a round something is held back."""
        return Status(
            tasks=len(self._pushed(round_name)),
            submitted=len(self.pull(round_name)),
            doubtful=0,
        )

    def _pushed(self, round_name: str) -> list[str]:
        if round_name not in self._asked:
            raise LabelingError(f"The oracle was not given {round_name}: push its tasks first.")
        return list(self._asked[round_name])
