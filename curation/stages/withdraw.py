"""Withdraw a round: its choice, ground truth and tasks. The record stays, marked withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import StageError
from curation.labeling.protocol import Labeler, WithdrawableLabeler
from curation.storage import collection, queries, rounds, schema
from curation.storage.rounds import Round
from curation.storage.tags import parse_round, round_name

if TYPE_CHECKING:
    from fiftyone import Dataset, DatasetView


@dataclass(frozen=True)
class Extent:
    """Contents of a round that withdrawing removes.

    Attributes:
        chosen: Samples with the round's tag, arm, rank and reason.
        labeled: Samples with ground truth from the round.
        boxes: Boxes in that ground truth.
        record: Folder with the round's record and models; None if it does not exist.
        published: The version that the round registered, which stays in the registry.
    """

    chosen: int
    labeled: int
    boxes: int
    record: Path | None
    published: str | None


@dataclass(frozen=True)
class WithdrawResult:
    """Outcome of a call of `withdraw`.

    Attributes:
        extent: The contents that were removed.
        labeler: Outcome for the labeling tasks, as a sentence.
        record: New location of the record; None if there was no record.
    """

    extent: Extent
    labeler: str
    record: Path | None


def extent(dataset: Dataset, round_: Round) -> Extent:
    """Return the contents of a round that withdrawing would remove, without changing anything.

    Raises:
        StageError: A later round exists, or the round is empty.
    """
    later = _later(dataset, round_)
    if later:
        raise StageError(
            f"Cannot withdraw round {round_.number} of {dataset.name!r}: {later}, which depends on "
            "it. Withdraw the last round first."
        )
    result = Extent(
        chosen=len(dataset.match_tags(round_name(round_.number))),
        labeled=len(_labeled(dataset, round_.number)),
        boxes=_boxes(dataset, round_.number),
        record=round_.folder if round_.folder.is_dir() else None,
        published=_published(round_),
    )
    if not (result.chosen or result.labeled or result.record):
        raise StageError(f"Round {round_.number} of {dataset.name!r} has nothing to withdraw.")
    return result


def withdraw(dataset: Dataset, round_: Round, labeler: Labeler | None) -> WithdrawResult:
    """Remove a round's choice, ground truth and tasks. Resumes a withdrawal that was interrupted.

    Removes the tags `round-NN` and `arm:...`, `rank`, `chosen_because` and the round's ground
    truth, which returns its samples to the pool. Predictions and the registry are unchanged.

    Args:
        dataset: A FiftyOne dataset.
        round_: The round.
        labeler: The labeler with the round's tasks; None if there are no tasks.

    Raises:
        StageError: A later round exists, or the round is empty.
        LabelingError: The labeler does not remove its tasks; then nothing is removed.
    """
    before = extent(dataset, round_)
    outcome = _remove_tasks(labeler, round_)
    if before.record and "withdrew" not in round_.record():  # before anything is removed
        round_.note(withdrew={**asdict(before), "record": str(before.record)})
    _remove_ground_truth(dataset, round_.number)
    if before.chosen:
        schema.declare_choice(dataset)
        queries.tag_batch(dataset, round_name(round_.number), [], [], [])
    _remove_choice(dataset, round_.number)
    return WithdrawResult(before, outcome, _set_aside(round_, outcome) if before.record else None)


def _later(dataset: Dataset, round_: Round) -> str:
    """Return a description of any later round; empty if there is none."""
    newest = max((parse_round(tag) or 0 for tag in dataset.distinct("tags")), default=0)
    if newest > round_.number:
        return f"round {newest} has chosen samples"
    if dataset.get_field(schema.LABELED_ROUND) is not None:
        last = dataset.bounds(schema.LABELED_ROUND)[1]
        if last is not None and last > round_.number:
            return f"round {last} has labeled samples"
    following = rounds.Round(
        round_.number + 1, round_.folder.with_name(round_name(round_.number + 1))
    )
    return f"round {following.number} has begun" if following.record()["stages"] else ""


def _labeled(dataset: Dataset, number: int) -> DatasetView:
    if dataset.get_field(schema.LABELED_ROUND) is None:
        return dataset.limit(0)
    return dataset.match({schema.LABELED_ROUND: number})


def _boxes(dataset: Dataset, number: int) -> int:
    view = _labeled(dataset, number)
    if dataset.get_field(schema.GROUND_TRUTH) is None:
        return 0
    return int(view.count(f"{schema.GROUND_TRUTH}.detections"))


def _published(round_: Round) -> str | None:
    summary: Mapping[str, Any] = round_.record()["stages"].get("publish", {}).get("summary", {})
    version = summary.get("challenger")
    return None if version is None else str(version)


def _remove_tasks(labeler: Labeler | None, round_: Round) -> str:
    if labeler is None:
        return "No labeler had tasks."
    if not isinstance(labeler, WithdrawableLabeler):
        return (
            f"The labeler {labeler.name!r} cannot remove tasks. If it holds any, remove them there."
        )
    return labeler.withdraw(round_.tag)


def _remove_ground_truth(dataset: Dataset, number: int) -> None:
    update = {
        sample_id: {schema.GROUND_TRUTH: None, schema.LABELED_ROUND: None}
        for sample_id in _labeled(dataset, number).values("id")
    }
    collection.write_documents(dataset, update)


def _remove_choice(dataset: Dataset, number: int) -> None:
    """Remove the record that the round has chosen, which allows it to choose again."""
    info = dict(dataset.info.get(schema.INFO, {}))
    tag = round_name(number)
    stale = [key for key in (f"chosen {tag}", schema.PUSHED.format(tag)) if key in info]
    if stale:
        dataset.info[schema.INFO] = {k: v for k, v in info.items() if k not in stale}
        dataset.save()


def _set_aside(round_: Round, outcome: str) -> Path:
    """Mark the record as withdrawn, and move it out of the round's folder."""
    round_.note(withdrawn=datetime.now(UTC).isoformat(timespec="seconds"), labeler_said=outcome)
    number = 1
    while (aside := round_.folder.with_name(f"withdrawn-{number}-{round_.tag}")).exists():
        number += 1
    round_.folder.rename(aside)
    return aside
