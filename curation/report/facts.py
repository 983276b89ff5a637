"""What a report is made from: facts of the dataset, and the story that rounds left on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.predictions import Detections
from curation.errors import StageError
from curation.storage import rounds
from curation.storage.rounds import Round


@dataclass(frozen=True)
class MemberFacts:
    """What one member left in the dataset.

    Attributes:
        name: Its name.
        images: That it looked at.
        boxes: That it found.
        sure: Those of them with a probability of at least 0.5.
    """

    name: str
    images: int
    boxes: int
    sure: int


@dataclass(frozen=True)
class MemberCost:
    """What it costs to ask one member.

    Attributes:
        tier: In which it works.
        ms: For one image, where it was run last.
        paths: The cascade's paths on which it is asked.
    """

    tier: str
    ms: float
    paths: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Chosen:
    """One sample that the round chose.

    Attributes:
        filepath: Its image.
        arm: Why it was chosen, in a word.
        rank: Its place in the batch.
        hardness: In [0, 1], or None.
        because: Why it was chosen, in words.
        truth: Its ground truth; None where it has none.
        consensus: The fused boxes.
    """

    filepath: str
    arm: str
    rank: int
    hardness: float | None
    because: str
    truth: Detections | None
    consensus: Detections


@dataclass(frozen=True, eq=False)
class Projection:
    """The embedding on a plane: positions (n, 2), hardness (n,) with NaN, chosen (n,)."""

    xy: NDArray[np.float64]
    hardness: NDArray[np.float64]
    chosen: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Facts:
    """What the dataset says about a round.

    Attributes:
        dataset: Its name.
        samples: How many it has.
        splits: How many by split; samples without one under "".
        labeled: Samples with ground truth.
        members: What each member found.
        consensus: The same of the ensemble as a whole; None where it has not spoken.
        decisions: How many images by answer.
        decision: The name of the image decision.
        ways: How many samples take each path of the cascade.
        costs: What each member costs, by name; those whose time is not known are absent.
        contradictions: Samples on which a language model contradicts the other tiers; None
            where none was asked.
        pool: Hardness of every sample of the pool, the round's chosen ones included.
        arms: Hardness of the chosen samples by arm, None where unknown.
        shown: The first of each arm, to look at.
        projection: The embedding; None where there is none.
        failures: What went wrong, by image; those that ingest left out are no samples.
    """

    dataset: str
    samples: int
    splits: Mapping[str, int]
    labeled: int
    members: tuple[MemberFacts, ...] = ()
    consensus: MemberFacts | None = None
    decisions: Mapping[str, int] = field(default_factory=dict)
    decision: str = ""
    ways: Mapping[str, int] = field(default_factory=dict)
    costs: Mapping[str, MemberCost] = field(default_factory=dict)
    contradictions: int | None = None
    pool: Sequence[float] = ()
    arms: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    shown: tuple[Chosen, ...] = ()
    projection: Projection | None = None
    failures: Sequence[Mapping[str, Any]] = ()

    @property
    def n_chosen(self) -> int:
        """How many samples the round chose."""
        return sum(map(len, self.arms.values()))


@dataclass(frozen=True, eq=False)
class Story:
    """What one round left on disk.

    Attributes:
        number: Of the round.
        record: `record.json`; stages that did not run are absent.
        before: The champion's evaluation, or None.
        after: The challenger's evaluation, or None.
        verdict: What the gate said, or None.
    """

    number: int
    record: Mapping[str, Any]
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None

    def summary(self, stage: str) -> Mapping[str, Any] | None:
        """Return what a stage put on record, or None where it did not run."""
        found = self.record["stages"].get(stage)
        return None if found is None else found.get("summary", {})


def read_story(this: Round) -> Story:
    """Return what a round left on disk, as far as it went.

    Raises:
        StageError: A file of it cannot be read.
    """
    before, after = this.read(rounds.CHAMPION), this.read(rounds.CHALLENGER)
    if before and after and before["samples"]["id"] != after["samples"]["id"]:
        raise StageError(
            f"The two evaluations in {this.folder} are of different images. Evaluate again."
        )
    return Story(
        number=this.number,
        record=this.record(),
        before=before,
        after=after,
        verdict=this.read(rounds.VERDICT),
    )
