"""Take a round back: its choice, its ground truth, its tasks. The record stays, as withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import StageError
from curation.labeling.protocol import Labeler, Withdrawable
from curation.storage import collection, queries, rounds, schema
from curation.storage.rounds import Round
from curation.storage.tags import parse_round, round_name

if TYPE_CHECKING:
    from fiftyone import Dataset


@dataclass(frozen=True)
class Extent:
    """What of a round there is to take back.

    Attributes:
        chosen: Samples that bear its tag, with arm, rank and reason.
        labeled: Samples whose ground truth it gave.
        boxes: Boxes in that ground truth.
        record: Where its record and its models are; None where there are none.
        published: The version that it registered; it stays in the registry.
    """

    chosen: int
    labeled: int
    boxes: int
    record: Path | None
    published: str | None


@dataclass(frozen=True)
class WithdrawResult:
    """What was taken back.

    Attributes:
        extent: How much.
        labeler: What became of the tasks, in a sentence.
        record: Where the record was set aside.
    """

    extent: Extent
    labeler: str
    record: Path | None


def extent(dataset: Dataset, this: Round) -> Extent:
    """Return what withdrawing a round would take back; nothing is changed.

    Raises:
        StageError: A later round exists, or there is nothing of this one.
    """
    later = _later(dataset, this)
    if later:
        raise StageError(
            f"Round {this.number} of {dataset.name!r} cannot be withdrawn: {later}, which rests on "
            "it. Withdraw the last round first."
        )
    found = Extent(
        chosen=len(dataset.match_tags(round_name(this.number))),
        labeled=len(_labeled(dataset, this.number)),
        boxes=_boxes(dataset, this.number),
        record=this.folder if this.folder.is_dir() else None,
        published=_published(this),
    )
    if not (found.chosen or found.labeled or found.record):
        raise StageError(f"There is nothing of round {this.number} of {dataset.name!r}.")
    return found


def withdraw(dataset: Dataset, this: Round, labeler: Labeler | None) -> WithdrawResult:
    """Take a round back. May be repeated: one that was cut off is taken back to its end.

    Removes the tags `round-NN` and `arm:...`, `rank`, `chosen_because`, and the ground truth that
    the round gave, so that its samples are in the pool again. What the ensemble says of them,
    and what MLflow holds, stays.

    Args:
        dataset: The FiftyOne dataset.
        this: The round.
        labeler: Where its tasks are; None where there is nobody to tell.

    Raises:
        StageError: A later round exists, or there is nothing of this one.
        LabelingError: The labeler does not take its tasks back: then nothing was removed.
    """
    before = extent(dataset, this)
    told = _tell(labeler, this)
    if before.record and "withdrew" not in this.record():  # before anything is gone
        this.note(withdrew={**asdict(before), "record": str(before.record)})
    _forget_truth(dataset, this.number)
    if before.chosen:
        schema.declare_choice(dataset)
        queries.tag_batch(dataset, round_name(this.number), [], [], [])
    _forget_choice(dataset, this.number)
    return WithdrawResult(before, told, _set_aside(this, told) if before.record else None)


def _later(dataset: Dataset, this: Round) -> str:
    """Return what there is of a later round, in words; empty where there is nothing."""
    newest = max((parse_round(tag) or 0 for tag in dataset.distinct("tags")), default=0)
    if newest > this.number:
        return f"round {newest} has chosen samples"
    if dataset.get_field(schema.LABELED_ROUND) is not None:
        last = dataset.bounds(schema.LABELED_ROUND)[1]
        if last is not None and last > this.number:
            return f"round {last} has labeled samples"
    following = rounds.Round(this.number + 1, this.folder.with_name(round_name(this.number + 1)))
    return f"round {following.number} has begun" if following.record()["stages"] else ""


def _labeled(dataset: Dataset, number: int) -> Any:
    if dataset.get_field(schema.LABELED_ROUND) is None:
        return dataset.limit(0)
    return dataset.match({schema.LABELED_ROUND: number})


def _boxes(dataset: Dataset, number: int) -> int:
    view = _labeled(dataset, number)
    if dataset.get_field(schema.GROUND_TRUTH) is None:
        return 0
    return int(view.count(f"{schema.GROUND_TRUTH}.detections"))


def _published(this: Round) -> str | None:
    summary: Mapping[str, Any] = this.record()["stages"].get("publish", {}).get("summary", {})
    version = summary.get("challenger")
    return None if version is None else str(version)


def _tell(labeler: Labeler | None, this: Round) -> str:
    if labeler is None:
        return "Nobody was told."
    if not isinstance(labeler, Withdrawable):
        return (
            f"The labeler {labeler.name!r} cannot take tasks back: where it holds any, remove "
            "them there."
        )
    return labeler.withdraw(this.tag)


def _forget_truth(dataset: Dataset, number: int) -> None:
    update = {
        one: {schema.GROUND_TRUTH: None, schema.LABELED_ROUND: None}
        for one in _labeled(dataset, number).values("id")
    }
    collection.write_documents(dataset, update)


def _forget_choice(dataset: Dataset, number: int) -> None:
    """Forget that the round has chosen, so that it may choose again."""
    info = dict(dataset.info.get(schema.INFO, {}))
    tag = round_name(number)
    known = [one for one in (f"chosen {tag}", schema.PUSHED.format(tag)) if one in info]
    if known:
        dataset.info[schema.INFO] = {k: v for k, v in info.items() if k not in known}
        dataset.save()


def _set_aside(this: Round, told: str) -> Path:
    """Mark the record as withdrawn, and free the round's folder for another try."""
    this.note(withdrawn=datetime.now(UTC).isoformat(timespec="seconds"), labeler_said=told)
    number = 1
    while (aside := this.folder.with_name(f"withdrawn-{number}-{this.tag}")).exists():
        number += 1
    this.folder.rename(aside)
    return aside
