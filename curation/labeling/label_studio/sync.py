"""Import of changes in Label Studio into the dataset.

New and changed annotations become ground truth. A deleted annotation removes nothing: its sample
keeps the ground truth and is tagged `annotation-deleted` for a person to decide. A new submission
removes the tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from curation.labeling.label_studio.backend import LabelStudio
from curation.labeling.label_studio.pull import PullResult
from curation.labeling.protocol import PushResult, SampleAnnotation, Status, Task
from curation.storage import collection, schema, writer
from curation.storage.tags import round_name

if TYPE_CHECKING:
    from fiftyone import Dataset

DELETED = "annotation-deleted"
_CHUNK_SIZE = 500  # annotations in memory


@dataclass(frozen=True)
class SyncResult:
    """Result of an import.

    Attributes:
        labeled: Number of samples with new ground truth.
        updated: Number of samples with changed ground truth.
        deleted: Samples whose annotation was deleted; they keep their ground truth.
        review: Sample, subject and reason of everything that needs review.
        skipped: Number of skipped samples.
        partial: Number of samples that wait for more annotators.
        waiting: Number of samples of the round without ground truth.
        missing: Number of waiting samples without a task on the server: deleted, or not pushed.
        strangers: Submissions that belong to no sample.
        seconds: Labeling time of the imported samples, if measured.
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
        """Whether the dataset changed."""
        return bool(self.labeled or self.updated or self.deleted)


def import_annotations(
    dataset: Dataset, round_number: int, labeler: LabelStudio, result: PullResult
) -> SyncResult:
    """Write pulled annotations to the dataset, then record that they were imported.

    Args:
        dataset: The FiftyOne dataset.
        round_number: Number of the round, from 1.
        labeler: The labeler, whose local state lists earlier imports.
        result: Result of `LabelStudio.fetch`.
    """
    name = round_name(round_number)
    batch = dataset.match_tags(name).match({schema.SPLIT: {"$nin": ["val", "test"]}})
    before = dict(zip(*batch.values(["id", schema.LABELED_ROUND]), strict=True))
    past = labeler.imported_samples(name)
    changes = result.changes
    changed = {
        sample_id
        for key in (*changes.new, *changes.changed, *changes.deleted)
        if (sample_id := result.samples.get(key) or past.get(key))
    }
    labeler.begin_import(name, result)
    imported: list[str] = []
    answered: set[str] = set()
    review: list[tuple[str, str, str]] = []
    seconds: list[float] = []
    for chunk in _chunks(row for row in result.merged.annotations if row.sample_id in before):
        due = [row for row in chunk if before[row.sample_id] is None or row.sample_id in changed]
        truths = {row.sample_id: row.boxes for row in due if row.complete}
        if truths:
            writer.write_ground_truth(dataset, truths, labeled_round=round_number)
        imported += truths
        answered |= {row.sample_id for row in chunk}
        review += [
            (row.sample_id, doubt.subject, doubt.reason) for row in chunk for doubt in row.doubts
        ]
        seconds += [row.seconds for row in due if row.seconds is not None]
    removed = {past[key] for key in changes.deleted if key in past} - answered
    deleted = tuple(sorted(removed & before.keys()))
    _update_tags(dataset, deleted, imported)
    labeler.end_import(name, result)
    labeled = sum(before[sample_id] is None for sample_id in imported)
    unlabeled = {sample_id for sample_id, labeled_round in before.items() if labeled_round is None}
    waiting = unlabeled - set(imported)
    return SyncResult(
        labeled=labeled,
        updated=len(imported) - labeled,
        deleted=deleted,
        review=tuple(review),
        skipped=len(result.merged.skipped),
        partial=len(result.merged.partial),
        waiting=len(waiting),
        missing=len(waiting - set(result.with_task)) if result.complete else 0,
        strangers=result.strangers,
        seconds=sum(seconds) if seconds else None,
    )


class PushOnlyLabeler:
    """A labeler that submits tasks and returns no annotations.

    Args:
        labeler: The labeler that gets the tasks.
    """

    def __init__(self, labeler: LabelStudio) -> None:
        self._labeler = labeler
        self.result = PushResult(pushed=0, existing=0, location="")

    @property
    def name(self) -> str:
        """Name in records."""
        return self._labeler.name

    @property
    def instructions(self) -> str:
        """Location of the tasks."""
        return self._labeler.instructions

    def push(self, tasks: Sequence[Task]) -> PushResult:
        """Submit the tasks."""
        self.result = self._labeler.push(tasks)
        return self.result

    def pull(self, round_name: str) -> list[SampleAnnotation]:
        """Return nothing."""
        return []

    def status(self, round_name: str) -> Status:
        """Return the number of pushed tasks, without asking the labeler."""
        tasks = self.result.pushed + self.result.existing
        return Status(tasks=tasks, submitted=0, doubtful=0)


def _update_tags(dataset: Dataset, deleted: Sequence[str], imported: Sequence[str]) -> None:
    if deleted:
        writer.add_tags(dataset, {sample_id: [DELETED] for sample_id in deleted})
    tagged = set(dataset.match_tags(DELETED).values("id")) & set(imported)
    if tagged:
        collection.update_documents(
            dataset, {sample_id: {"$pull": {"tags": DELETED}, "$set": {}} for sample_id in tagged}
        )


def _chunks(annotations: Iterable[SampleAnnotation]) -> Iterator[list[SampleAnnotation]]:
    """Yield annotations in lists, to limit how many are in memory."""
    remaining = iter(annotations)
    while chunk := list(islice(remaining, _CHUNK_SIZE)):
        yield chunk
