"""Ingest images and labels into a dataset: validate, group, split and record them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.runtime.progress import Progress
from cascade.taxonomy import Taxonomy
from cascade.taxonomy import parse as parse_taxonomy
from curation.errors import IngestError
from curation.ingest import assignment, diagnostics, formats, validation
from curation.ingest.grouping import drive_finder
from curation.ingest.records import SPLITS, Problem, ReaderOptions, Record
from curation.ingest.validation import CheckedImage
from curation.ingest.writer import Writer
from curation.settings import Settings
from curation.storage import reader, schema

if TYPE_CHECKING:
    from fiftyone import Dataset

BATCH = 200  # files per write; a crash loses at most one batch


@dataclass(frozen=True)
class IngestResult:
    """Outcome of a call of `ingest`.

    Attributes:
        dataset: Name of the dataset.
        formats: Detected formats of the source.
        added: New samples.
        existing: Samples that existed.
        labeled: New samples with ground truth.
        held_back: New samples whose ground truth is held back for the oracle.
        splits: New samples by split.
        failures: Corrupt or missing image files, which are not in the dataset.
        label_problems: Rejected labels, by image.
        duplicates: Groups of files with identical bytes, in the entire dataset.
        dropped_labels: Boxes whose label belongs to no class, by label.
        warnings: Sentences to read before continuing.
    """

    dataset: str
    formats: tuple[str, ...]
    added: int
    existing: int
    labeled: int
    held_back: int
    splits: Mapping[str, int]
    failures: tuple[Problem, ...]
    label_problems: tuple[Problem, ...]
    duplicates: tuple[tuple[str, ...], ...]
    dropped_labels: Mapping[str, int]
    warnings: tuple[str, ...]


def ingest(
    source: Path,
    *,
    name: str,
    taxonomy: Taxonomy,
    settings: Settings,
    source_format: str = "auto",
    names: Sequence[str] | None = None,
    split_map: Mapping[str, str] | None = None,
    resplit: Sequence[float] | None = None,
    drive_pattern: str | None = None,
    hold_back: bool = False,
    fps: float = 1.0,
    progress: Progress | None = None,
) -> IngestResult:
    """Add a source to the dataset `name`, which is created if it does not exist.

    Idempotent: existing samples are unchanged, and new files are added. Every file is decoded
    completely; a file that is not an image is left out and recorded with the reason. A labeled
    source without splits is split 70/15/15 by drive; an unlabeled one becomes the pool. A drive
    in two splits is moved to one of them.

    Args:
        source: A folder of images, YOLO, COCO or VOC data or videos; a COCO file; a video.
        name: Name of the dataset.
        taxonomy: Classes; labels of no class are dropped and counted.
        settings: Settings with the folder for video frames.
        source_format: `auto`, `folder`, `yolo`, `coco`, `voc` or `video`.
        names: Class names of YOLO rows, in order, if no file lists them.
        split_map: Additional folder names of splits, such as `{"set1": "train"}`.
        resplit: Shares of train, val and test, to split again by drive.
        drive_pattern: Regular expression that finds the drive in a file name.
        hold_back: Whether to hold back the ground truth of train for the oracle.
        fps: Frames per second to extract from videos.
        progress: Callback after every batch of files.

    Raises:
        IngestError: The source holds no images, or cannot be parsed; nothing is written.
    """
    options = ReaderOptions(
        names=tuple(names) if names else None,
        frames=settings.dataset_folder(name) / "frames",
        split_of=assignment.split_aliases(split_map),
        fps=fps,
    )
    drive_of = drive_finder(drive_pattern)
    reading, source_formats = formats.read(Path(os.path.abspath(source)), source_format, options)
    dataset = _open(name, taxonomy)
    before = _Before.of(dataset)
    records, advice = assignment.assign(
        reading.records, drive_of=drive_of, resplit=resplit, existing=before.drives
    )
    doubtful = [problem.filepath for problem in reading.label_problems]
    writer = Writer(dataset, taxonomy, hold_back=hold_back, doubtful=doubtful)
    damaged = _write(writer, records, before, progress)

    failures = (*reading.absent, *damaged)
    problems = (*reading.label_problems, *writer.label_problems)
    duplicates = diagnostics.tag_duplicates(dataset)
    diagnostics.record_problems(dataset, [*failures, *problems])
    warnings = diagnostics.find_warnings(dataset, duplicates, writer, taxonomy)
    return IngestResult(
        dataset=name,
        formats=source_formats,
        added=writer.added.total(),
        existing=sum(before.has(record) for record in records),
        labeled=writer.labeled,
        held_back=writer.held_back,
        splits={split: writer.added[split] for split in SPLITS if writer.added[split]},
        failures=failures,
        label_problems=problems,
        duplicates=tuple(tuple(group) for group in duplicates),
        dropped_labels=dict(writer.dropped.most_common()),
        warnings=tuple(advice + warnings if writer.added else warnings),
    )


@dataclass(frozen=True)
class _Before:
    """State of the dataset before ingesting: ids and hashes by file, and the split by drive."""

    ids: Mapping[str, str]
    hashes: Mapping[str, str | None]
    drives: Mapping[str, str]

    @classmethod
    def of(cls, dataset: Dataset) -> _Before:
        columns = reader.read_columns(
            dataset, ["filepath", schema.CONTENT_HASH, schema.DRIVE, schema.SPLIT]
        )
        ids, paths, hashes, drives, splits = columns.values()
        return cls(
            ids=dict(zip(paths, ids, strict=True)),
            hashes=dict(zip(paths, hashes, strict=True)),
            drives={d: s for d, s in zip(drives, splits, strict=True) if d and s},
        )

    def has(self, record: Record) -> bool:
        """Return whether the image is stored completely."""
        return self.hashes.get(str(record.path)) is not None


def _open(name: str, taxonomy: Taxonomy) -> Dataset:
    """Return the dataset, created if it does not exist.

    Raises:
        IngestError: The name is invalid, or the dataset was not ingested with this taxonomy.
    """
    import fiftyone as fo

    if not fo.dataset_exists(name):
        try:
            dataset = fo.Dataset(name, persistent=True)
        except ValueError as error:
            raise IngestError(f"Cannot name a dataset {name!r}: {error}.") from error
    else:
        dataset = fo.load_dataset(name)
        _expect_same(dataset, taxonomy)
    schema.declare(dataset, taxonomy)
    info = dataset.info.get(schema.INFO) or {}
    if "taxonomy" not in info:
        dataset.info[schema.INFO] = {**info, "taxonomy": taxonomy.to_yaml()}
        dataset.save()
    return dataset


def _expect_same(dataset: Dataset, taxonomy: Taxonomy) -> None:
    """Raise if a dataset was not ingested, or was ingested with another taxonomy."""
    text = (dataset.info.get(schema.INFO) or {}).get("taxonomy")
    if text is None and len(dataset):
        raise IngestError(
            f"Dataset {dataset.name!r} exists and was not created by ingesting. "
            "Choose another name with `--name`, so its labels stay unchanged."
        )
    if text is not None and (existing := parse_taxonomy(text)).identity != taxonomy.identity:
        raise IngestError(
            f"Dataset {dataset.name!r} was ingested with the taxonomy "
            f"{existing.name!r}. Use that one, or another `--name`."
        )


def _write(
    writer: Writer, records: Sequence[Record], before: _Before, progress: Progress | None
) -> list[Problem]:
    """Validate and write new files, batch by batch; return the damaged ones."""
    waiting = [record for record in records if not before.has(record)]
    damaged: list[Problem] = []
    for start in range(0, len(waiting), BATCH):
        batch = waiting[start : start + BATCH]
        files = validation.check_images([record.path for record in batch])
        valid = [
            (record, file)
            for record, file in zip(batch, files, strict=True)
            if isinstance(file, CheckedImage)
        ]
        damaged += [file for file in files if isinstance(file, Problem)]
        writer.write(valid, before.ids)
        if progress:
            progress(start + len(batch), len(waiting))
    return damaged
