"""Taking over into the dataset what changed in Label Studio since the last time.

What is new, or was changed, becomes ground truth. An annotation that was deleted takes nothing
away: its sample keeps the ground truth and is tagged `annotation-deleted`, for a person to
decide. The tag goes when somebody submits anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.label_studio.pull import Pulled
from curation.labeling.protocol import Annotated, PushResult, Status, Task
from curation.storage import collection, schema, writer
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset

DELETED = "annotation-deleted"
_AT_ONCE = 500  # answers in memory


@dataclass(frozen=True)
class Synced:
    """What became of it.

    Attributes:
        labeled: Samples that got ground truth by it.
        updated: Samples whose ground truth is another now.
        deleted: Samples whose annotation was deleted; they keep their ground truth.
        review: What a person has to look at: sample, what was submitted, and why.
        skipped: Samples that were skipped.
        partial: Samples that wait for more people.
        waiting: Samples of the round without ground truth.
        missing: Those of them that have no task on the server: deleted there, or not pushed.
        strangers: Submissions that belong to no sample.
        seconds: What labeling took for the samples taken over, where that was measured.
    """

    labeled: int
    updated: int
    deleted: tuple[str, ...]
    review: tuple[tuple[str, str, str], ...]
    skipped: int
    partial: int
    waiting: int
    missing: int
    strangers: tuple[str, ...]
    seconds: float | None

    @property
    def changed(self) -> bool:
        """Whether the dataset is another than before."""
        return bool(self.labeled or self.updated or self.deleted)


def take_over(dataset: Dataset, round_number: int, labeler: LabelStudio, seen: Pulled) -> Synced:
    """Write what was pulled, then note that it was.

    Args:
        dataset: The FiftyOne dataset.
        round_number: The round, from 1.
        labeler: Whose notes say what was taken over before.
        seen: What the labeler saw, see `LabelStudio.look`.
    """
    name = round_name(round_number)
    batch = dataset.match_tags(name).match({schema.SPLIT: {"$nin": ["val", "test"]}})
    before = dict(zip(*batch.values(["id", schema.LABELED_ROUND]), strict=True))
    past = labeler.past_samples(name)
    moved = {
        sample
        for one in (*seen.changes.new, *seen.changes.changed, *seen.changes.deleted)
        if (sample := seen.samples.get(one) or past.get(one))
    }
    labeler.begin(name, seen)
    taken: list[str] = []
    answered: set[str] = set()
    review: list[tuple[str, str, str]] = []
    seconds: list[float] = []
    for chunk in _chunks(one for one in seen.merged.annotated if one.sample_id in before):
        due = [one for one in chunk if before[one.sample_id] is None or one.sample_id in moved]
        truths = {one.sample_id: one.boxes for one in due if one.complete}
        if truths:
            writer.write_ground_truth(dataset, truths, labeled_round=round_number)
        taken += truths
        answered |= {one.sample_id for one in chunk}
        review += [(one.sample_id, said.what, said.reason) for one in chunk for said in one.doubts]
        seconds += [one.seconds for one in due if one.seconds is not None]
    gone = {past[one] for one in seen.changes.deleted if one in past} - answered
    deleted = tuple(sorted(gone & before.keys()))
    _tag(dataset, deleted, taken)
    labeler.remember(name, seen)
    labeled = sum(before[one] is None for one in taken)
    waiting = {one for one, round_ in before.items() if round_ is None} - set(taken)
    return Synced(
        labeled=labeled,
        updated=len(taken) - labeled,
        deleted=deleted,
        review=tuple(review),
        skipped=len(seen.merged.skipped),
        partial=len(seen.merged.partial),
        waiting=len(waiting),
        missing=len(waiting - set(seen.with_task)) if seen.complete else 0,
        strangers=seen.strangers,
        seconds=sum(seconds) if seconds else None,
    )


class OnlyPush:
    """A labeler that hands tasks over and asks for nothing back yet.

    Args:
        labeler: Who gets the tasks.
    """

    def __init__(self, labeler: LabelStudio) -> None:
        self._labeler = labeler
        self.result = PushResult(pushed=0, existing=0, where="")

    @property
    def name(self) -> str:
        """What records call it."""
        return self._labeler.name

    @property
    def where(self) -> str:
        """Where tasks wait."""
        return self._labeler.where

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Hand over the tasks."""
        self.result = self._labeler.push(tasks)
        return self.result

    def pull(self, round_name: str) -> list[Annotated]:
        """Return nothing: it was not asked."""
        return []

    def status(self, round_name: str) -> Status:
        """Return what is known without asking."""
        tasks = self.result.pushed + self.result.existing
        return Status(tasks=tasks, submitted=0, doubtful=0)


def _tag(dataset: Dataset, deleted: Sequence[str], renewed: Sequence[str]) -> None:
    if deleted:
        writer.add_tags(dataset, {one: [DELETED] for one in deleted})
    tagged = set(dataset.match_tags(DELETED).values("id")) & set(renewed)
    if tagged:
        collection.update_documents(
            dataset, {one: {"$pull": {"tags": DELETED}, "$set": {}} for one in tagged}
        )


def _chunks(annotated: Iterable[Annotated]) -> Iterator[list[Annotated]]:
    """Yield answers in lists, so that only so many are in memory at once."""
    rest = iter(annotated)
    while chunk := list(islice(rest, _AT_ONCE)):
        yield chunk
