"""Pulled submissions, stored on disk with only their ids in memory.

Tasks are added page by page. The id and version of each annotation stay in memory; its content is
spooled to disk, read back sample by sample, merged, and spooled again as the stored row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.labeling.label_studio import pull_state
from curation.labeling.label_studio.annotations.reader import AnnotationReader, Json, SampleImage
from curation.labeling.label_studio.pull_state import Changes, Stamp
from curation.labeling.label_studio.spool import Spool
from curation.labeling.label_studio.task_json import SAMPLE_ID
from curation.labeling.protocol import SampleAnnotation


@dataclass(frozen=True, slots=True)
class _TaskStamps:
    """The part of a task that stays in memory.

    Attributes:
        sample_id: Sample of the task; None for a task of no known sample.
        stamps: Version of every annotation by id, including skips.
    """

    sample_id: str | None
    stamps: Mapping[int, Stamp]


class MergedAnnotations:
    """Annotations of samples with enough annotators, read from disk one by one."""

    def __init__(self, rows: Spool[str], reader: AnnotationReader) -> None:
        self._rows = rows
        self._reader = reader

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[SampleAnnotation]:
        return (self._reader.to_annotation(self._rows.read(key)) for key in self._rows)


@dataclass(frozen=True, eq=False)
class MergeResult:
    """Submissions merged by sample.

    Attributes:
        annotations: Annotations to import, without samples that wait for more annotators.
        agreement: Agreement of the annotators in [0, 1], by sample.
        doubtful: Number of annotations that need review.
        skipped: Samples that were skipped and have no submission.
        partial: Samples with submissions that wait for more annotators.
    """

    annotations: MergedAnnotations
    agreement: Mapping[str, float]
    doubtful: int
    skipped: tuple[str, ...]
    partial: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PullResult:
    """Result of a pull.

    Attributes:
        merged: Submissions merged by sample.
        with_task: Samples that have a task on the server.
        strangers: Submissions that belong to no sample.
        changes: Changes since the last import.
        samples: Sample of each annotation, by annotation id.
        mark: Start time of the next pull, see `task_reader`.
        complete: Whether all tasks were read.
    """

    merged: MergeResult
    with_task: tuple[str, ...]
    strangers: tuple[str, ...]
    changes: Changes
    samples: Mapping[int, str]
    mark: str | None
    complete: bool


class RoundTasks:
    """Tasks of a round; adding a task again replaces its earlier version.

    Args:
        samples: Known samples by id.
        folder: Folder for spooled annotations.
    """

    def __init__(self, samples: Mapping[str, SampleImage], folder: Path) -> None:
        self._samples = samples
        self._annotations: Spool[int] = Spool(folder)
        self._tasks: dict[int, _TaskStamps] = {}

    def add(self, task: Mapping[str, Any]) -> None:
        """Add one task."""
        task_id, sample_id = int(task["id"]), str(task["data"].get(SAMPLE_ID))
        annotations = task.get("annotations") or []
        stamps = {int(row["id"]): pull_state.stamp(row) for row in annotations}
        is_known = sample_id in self._samples
        self._tasks[task_id] = _TaskStamps(sample_id if is_known else None, stamps)
        if is_known and annotations:
            self._annotations.write(task_id, annotations)
        else:
            self._annotations.discard(task_id)

    def by_sample(self) -> dict[str, list[int]]:
        """Return the task ids of each sample: one, unless two people worked on duplicates."""
        ids: dict[str, list[int]] = {}
        for task_id, task in self._tasks.items():
            if task.sample_id is not None:
                ids.setdefault(task.sample_id, []).append(task_id)
        return ids

    def annotations(self, task_ids: Iterable[int]) -> list[Json]:
        """Return all annotations of some tasks."""
        return [row for task_id in task_ids for row in self._annotations.read(task_id) or ()]

    def stamps(self) -> list[tuple[int, Stamp]]:
        """Return the id and version of every annotation, including those of unknown samples."""
        return [pair for task in self._tasks.values() for pair in task.stamps.items()]

    def owners(self) -> dict[int, str]:
        """Return the sample of each annotation, by annotation id."""
        return {
            annotation_id: task.sample_id
            for task in self._tasks.values()
            if task.sample_id is not None
            for annotation_id in task.stamps
        }

    def strangers(self) -> list[str]:
        """Return the tasks with annotations that belong to no sample."""
        return [
            f"task {task_id}"
            for task_id, task in self._tasks.items()
            if task.sample_id is None and task.stamps
        ]


def merge(
    tasks: RoundTasks,
    *,
    samples: Mapping[str, SampleImage],
    reader: AnnotationReader,
    overlap: int,
    folder: Path,
    write_row: Callable[[Json], None],
) -> MergeResult:
    """Merge the submissions of each sample.

    Args:
        tasks: All tasks.
        samples: Known samples by id.
        reader: Reader of annotations.
        overlap: Required number of submissions per sample.
        folder: Folder for spooled rows.
        write_row: Function called with the row of each sample that has a submission.
    """
    rows: Spool[str] = Spool(folder)
    skipped, partial, agreement, doubtful = [], [], {}, 0
    for sample_id, task_ids in tasks.by_sample().items():
        annotations = tasks.annotations(task_ids)
        row = reader.build_row(sample_id, samples[sample_id], annotations)
        if row is None:
            skipped += [sample_id] if annotations else []
            continue
        write_row(row)
        if len(row["versions"]) < overlap:
            partial.append(sample_id)
            continue
        rows.write(sample_id, row)
        agreement[sample_id] = float(row["agreement"])
        doubtful += bool(row["doubts"])
    annotated = MergedAnnotations(rows, reader)
    return MergeResult(annotated, agreement, doubtful, tuple(skipped), tuple(partial))


def compare(
    tasks: RoundTasks, imported: Mapping[int, tuple[Stamp, str]], *, complete: bool
) -> Changes:
    """Return the changes since the last import.

    Args:
        tasks: All tasks that were read.
        imported: Version and sample of each imported annotation.
        complete: Whether all tasks were read; otherwise only samples that were read are compared.
    """
    read = tasks.by_sample()
    compared = {
        key: stamp for key, (stamp, sample_id) in imported.items() if complete or sample_id in read
    }
    changes = pull_state.compare(compared, tasks.stamps())
    others = {key: stamp for key, (stamp, _) in imported.items() if key not in compared}
    return replace(changes, begun={**others, **changes.begun}, state={**others, **changes.state})
