"""Input of a report: facts of the dataset and the records of rounds."""

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
    """Predictions of one member in the dataset.

    Attributes:
        name: Name of the member.
        images: Number of images with a prediction.
        boxes: Number of boxes.
        confident: Number of boxes with a probability of at least 0.5.
    """

    name: str
    images: int
    boxes: int
    confident: int


@dataclass(frozen=True)
class MemberCost:
    """Cost of running one member.

    Attributes:
        tier: Tier of the member.
        ms: Milliseconds per image in the last run.
        paths: Paths of the cascade that run the member.
    """

    tier: str
    ms: float
    paths: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Chosen:
    """A sample chosen by the round.

    Attributes:
        filepath: Path of the image.
        arm: Arm of the batch.
        rank: Rank in the batch.
        hardness: Hardness in [0, 1], if known.
        because: Reason of the choice, as a sentence.
        truth: Ground truth, if labeled.
        consensus: Fused boxes.
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
    """Two-dimensional embedding: positions (n, 2), hardness (n,) with NaN, chosen (n,)."""

    xy: NDArray[np.float64]
    hardness: NDArray[np.float64]
    chosen: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts of a dataset in a round.

    Attributes:
        dataset: Name of the dataset.
        samples: Number of samples.
        splits: Number of samples by split; "" for samples without a split.
        labeled: Number of samples with ground truth.
        members: Predictions of each member.
        consensus: Predictions of the fused ensemble, None before fusion.
        decisions: Number of images by answer.
        decision: Name of the image-level decision.
        ways: Number of samples by path of the cascade.
        costs: Cost by member, without members of unknown cost.
        contradictions: Number of samples on which a language model contradicts the other tiers;
            None where no language model ran.
        pool: Hardness of every sample of the pool, including the chosen ones.
        arms: Hardness of the chosen samples by arm, None where unknown.
        shown: First samples of each arm, for thumbnails.
        projection: Two-dimensional embedding, if computed.
        failures: Failures by image, including images that ingest left out.
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
        """Number of samples chosen by the round."""
        return sum(map(len, self.arms.values()))


@dataclass(frozen=True, eq=False)
class RoundRecord:
    """Files of one round.

    Attributes:
        number: Number of the round.
        record: Content of `record.json`; stages that did not run are absent.
        before: Evaluation of the champion, if any.
        after: Evaluation of the challenger, if any.
        verdict: Verdict of the gate, if any.
    """

    number: int
    record: Mapping[str, Any]
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None

    def summary(self, stage: str) -> Mapping[str, Any] | None:
        """Return the recorded summary of a stage, None if it did not run."""
        entry = self.record["stages"].get(stage)
        return None if entry is None else entry.get("summary", {})


def read_round_record(round_: Round) -> RoundRecord:
    """Return the files of a round; those of later stages may be missing.

    Raises:
        StageError: A file of the round cannot be read.
    """
    before, after = round_.read(rounds.CHAMPION), round_.read(rounds.CHALLENGER)
    if before and after and before["samples"]["id"] != after["samples"]["id"]:
        raise StageError(
            f"The evaluations in {round_.folder} cover different images. "
            "Run `curate evaluate` again."
        )
    return RoundRecord(
        number=round_.number,
        record=round_.record(),
        before=before,
        after=after,
        verdict=round_.read(rounds.VERDICT),
    )
