"""What a pull found: answers on disk, and in memory no more than their ids.

Pages of tasks are taken in as they come. Of each annotation, its id and its stamp stay in
memory; what was drawn is spooled to disk, read again sample by sample, merged, and spooled once
more as the row that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.labeling.label_studio import pull_state
from curation.labeling.label_studio.annotations.reader import Json, Known, Reader
from curation.labeling.label_studio.pull_state import Changes, Stamp
from curation.labeling.label_studio.spool import Spool
from curation.labeling.label_studio.task_json import SAMPLE_ID
from curation.labeling.protocol import Annotated


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stays in memory of a task.

    Attributes:
        sample_id: Whose it is; None where it is of no sample of ours.
        stamps: Of every annotation, skips included.
    """

    sample_id: str | None
    stamps: Mapping[int, Stamp]


class Answered:
    """Samples that all their annotators answered, read from disk one after the other."""

    def __init__(self, rows: Spool[str], reader: Reader) -> None:
        self._rows = rows
        self._reader = reader

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Annotated]:
        return (self._reader.annotated(self._rows.read(one)) for one in self._rows)


@dataclass(frozen=True, eq=False)
class Merged:
    """What people say, merged by sample.

    Attributes:
        annotated: What is to be taken over, by sample; those who wait for more people left out.
        agreement: How far the people of a sample agree, in [0, 1], by sample.
        doubtful: How many of them hold something that a person has to look at.
        skipped: Samples that were skipped, and that nobody submitted.
        partial: Samples that some submitted, and that more people are to label.
    """

    annotated: Answered
    agreement: Mapping[str, float]
    doubtful: int
    skipped: tuple[str, ...]
    partial: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Pulled:
    """What a pull found.

    Attributes:
        merged: What people say.
        with_task: The samples that have a task on the server, twins counted once.
        strangers: Submissions that belong to no sample.
        changes: What is new, changed or deleted since the last one that was remembered.
        samples: The sample of each annotation that was seen, by the annotation's id.
        mark: From when the next one has to look, see `reading`.
        complete: Whether all tasks were read.
    """

    merged: Merged
    with_task: tuple[str, ...]
    strangers: tuple[str, ...]
    changes: Changes
    samples: Mapping[int, str]
    mark: str | None
    complete: bool


class Tasks:
    """The tasks of a round as they are read; of one that is read again, the last reading holds.

    Args:
        known: The samples that answers may be for.
        folder: Where what was drawn is spooled to.
    """

    def __init__(self, known: Mapping[str, Known], folder: Path) -> None:
        self._known = known
        self._drawn: Spool[int] = Spool(folder)
        self._tasks: dict[int, _Seen] = {}

    def take(self, task: Mapping[str, Any]) -> None:
        """Take one task in."""
        number, sample_id = int(task["id"]), str(task["data"].get(SAMPLE_ID))
        annotations = task.get("annotations") or []
        stamps = {int(one["id"]): pull_state.stamp(one) for one in annotations}
        known = sample_id in self._known
        self._tasks[number] = _Seen(sample_id if known else None, stamps)
        if known and annotations:
            self._drawn.keep(number, annotations)
        else:
            self._drawn.forget(number)

    def samples(self) -> dict[str, list[int]]:
        """Return the tasks of each sample: one, but for twins that two people worked on."""
        found: dict[str, list[int]] = {}
        for number, seen in self._tasks.items():
            if seen.sample_id is not None:
                found.setdefault(seen.sample_id, []).append(number)
        return found

    def annotations(self, numbers: Iterable[int]) -> list[Json]:
        """Return all annotations of some tasks."""
        return [one for number in numbers for one in self._drawn.read(number) or ()]

    def stamps(self) -> list[tuple[int, Stamp]]:
        """Return the stamp of every annotation, strangers' included, by its id."""
        return [pair for seen in self._tasks.values() for pair in seen.stamps.items()]

    def owners(self) -> dict[int, str]:
        """Return the sample of each annotation, by its id."""
        return {
            one: seen.sample_id
            for seen in self._tasks.values()
            if seen.sample_id is not None
            for one in seen.stamps
        }

    def strangers(self) -> list[str]:
        """Return the tasks with annotations that belong to no sample."""
        return [
            f"task {number}"
            for number, seen in self._tasks.items()
            if seen.sample_id is None and seen.stamps
        ]


def merge(
    tasks: Tasks,
    *,
    known: Mapping[str, Known],
    reader: Reader,
    overlap: int,
    folder: Path,
    keep: Callable[[Json], None],
) -> Merged:
    """Merge what the people of each sample say.

    Args:
        tasks: All that was read.
        known: The samples.
        reader: Reads annotations.
        overlap: How many people are to submit each sample.
        folder: Where rows are spooled to.
        keep: Told the row of each sample that somebody submitted.
    """
    rows: Spool[str] = Spool(folder)
    skipped, partial, agreement, doubtful = [], [], {}, 0
    for sample_id, numbers in tasks.samples().items():
        annotations = tasks.annotations(numbers)
        row = reader.row(sample_id, known[sample_id], annotations)
        if row is None:
            skipped += [sample_id] if annotations else []
            continue
        keep(row)
        if len(row["versions"]) < overlap:
            partial.append(sample_id)
            continue
        rows.keep(sample_id, row)
        agreement[sample_id] = float(row["agreement"])
        doubtful += bool(row["doubts"])
    return Merged(Answered(rows, reader), agreement, doubtful, tuple(skipped), tuple(partial))


def changes(tasks: Tasks, stored: Mapping[int, tuple[Stamp, str]], *, complete: bool) -> Changes:
    """Return what changed since the last pull that was remembered.

    Args:
        tasks: All that was read.
        stored: Stamp and sample of each annotation that was taken over before.
        complete: Whether all tasks were read; of a part, only what their samples had is compared.
    """
    seen = tasks.samples()
    compared = {one: stamp for one, (stamp, sample) in stored.items() if complete or sample in seen}
    found = pull_state.compare(compared, tasks.stamps(), complete=True)
    rest = {one: stamp for one, (stamp, _) in stored.items() if one not in compared}
    return replace(found, begun={**rest, **found.begun}, state={**rest, **found.state})
