"""What a labeling backend is given, what it gives back, and the few methods that it has.

Only what was submitted becomes ground truth: an empty submission is "nothing there", a
missing one is "not annotated", and a prediction never comes back as a label.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cascade.predictions import Detections


@dataclass(frozen=True, eq=False)
class Task:
    """One sample that is to be labeled, and why.

    Attributes:
        sample_id: Which sample; a backend gives it back untouched.
        filepath: Where its image is.
        width: Of the upright image, in pixels.
        height: Of the upright image, in pixels.
        round: The round that chose it, from 1.
        rank: Its place in the batch, from 1; 1 is to be labeled first.
        arm: `hard`, `coverage`, `slice` or `random`.
        hardness: In [0, 1], higher is harder; None in a round that had no hardness.
        because: Why it was chosen, in words.
        predictions: What the ensemble believes, as a start for the one who labels.
        slices: Those that it is in, such as `time_of_day=night, weather=rain`; empty for none.
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
    """Something submitted that cannot be taken over as it is. A person has to look at it.

    Attributes:
        what: The label or the row, as it came.
        reason: What is wrong with it, and what would mend it.
    """

    what: str
    reason: str


@dataclass(frozen=True, eq=False)
class Annotated:
    """What someone submitted for one sample.

    Attributes:
        sample_id: Which sample.
        boxes: In the classes of the taxonomy; empty means "nothing there".
        annotator: Who did it: a person, or the name of an oracle.
        seconds: How long it took, where that is known.
        complete: Whether all that was submitted is in `boxes`. Where it is not, `boxes` must
            not become ground truth: it would teach that nothing is where the doubts are.
        doubts: What is not in `boxes`.
    """

    sample_id: str
    boxes: Detections
    annotator: str
    seconds: float | None
    complete: bool
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class PushResult:
    """What became of a push.

    Attributes:
        pushed: Tasks that are new to the backend.
        existing: Tasks that it had already.
        where: A folder or an address where the work waits.
    """

    pushed: int
    existing: int
    where: str


@dataclass(frozen=True)
class Status:
    """How far a round is.

    Attributes:
        tasks: All that the backend was given.
        submitted: Those with a submission, complete or doubtful.
        doubtful: Those whose submission holds something that a person has to look at.
        strangers: Names of submissions that belong to no task.
    """

    tasks: int
    submitted: int
    doubtful: int
    strangers: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        """Tasks without a submission."""
        return self.tasks - self.submitted


@runtime_checkable
class Labeler(Protocol):
    """Somewhere that tasks are labeled. Every method may be repeated without harm."""

    @property
    def name(self) -> str:
        """What records call it, such as `oracle`."""
        ...

    @property
    def where(self) -> str:
        """A sentence that says where tasks wait for their labels."""
        ...

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Hand over the tasks of one round; those that are there already stay as they are."""
        ...

    def pull(self, round_name: str) -> list[Annotated]:
        """Return all that was submitted so far for a round such as `round-01`."""
        ...

    def status(self, round_name: str) -> Status:
        """Say how far a round is."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A labeler that remembers what was taken over, so that it can tell later what is new."""

    def taken_over(self, round_name: str, sample_ids: Collection[str]) -> None:
        """Note that what the last `pull` gave of these samples became ground truth."""
        ...


@runtime_checkable
class Withdrawable(Protocol):
    """A labeler that can take a round back. Repeating it does no harm."""

    def withdraw(self, round_name: str) -> str:
        """Take back the tasks of a round such as `round-01`, and say in a sentence what became.

        What people submitted is set aside or kept where it is, never destroyed.
        """
        ...
