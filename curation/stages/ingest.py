"""Bring images and their labels into a dataset: checked, grouped, split, and on record."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade import taxonomy as taxonomies
from cascade.runtime.progress import Progress
from cascade.taxonomy import Taxonomy
from curation.errors import IngestError
from curation.ingest import assignment, validation
from curation.ingest import formats as sources
from curation.ingest.grouping import drive_rule
from curation.ingest.records import SPLITS, Options, Problem, Record
from curation.ingest.validation import Checked
from curation.ingest.writer import Writer
from curation.presentation import refresh
from curation.settings import Settings
from curation.storage import reader, schema
from curation.storage import writer as store

if TYPE_CHECKING:
    from fiftyone import Dataset

BATCH = 200  # files a write: what a crash can cost, and how often progress is told
_MOST_ON_RECORD = 20_000  # entries; a document of the database holds 16 MB


@dataclass(frozen=True)
class IngestResult:
    """What a call did.

    Attributes:
        dataset: Its name.
        formats: What the source was read as.
        added: Samples that are new.
        existing: Samples that were there already.
        labeled: New samples with ground truth.
        held_back: New samples whose ground truth only the oracle knows.
        splits: New samples by split.
        failures: Files that are no whole image, and are not in the dataset.
        label_problems: Labels that were left out, by image.
        duplicates: Groups of files with exactly the same bytes, in the whole dataset.
        dropped_labels: Boxes whose label means no class, by label.
        warnings: What to know, in sentences.
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
    """Bring a source into the dataset `name`, which is made when it does not exist.

    May be repeated: files that are there stay as they are, new ones are added. Every file is
    decoded whole; what is no image is left out, and kept on record with its reason. A source
    without splits is split 70/15/15 by drive where it is labeled, and is a pool otherwise;
    drives that lie in two splits are brought together.

    Args:
        source: A folder of images, YOLO, COCO or VOC data or videos; a COCO file; a video.
        name: The dataset.
        taxonomy: What labels mean; those that mean no class are dropped and counted.
        settings: Where frames of videos are kept.
        source_format: `auto`, `folder`, `yolo`, `coco`, `voc` or `video`.
        names: Class names of YOLO rows, in order, where no file tells them.
        split_map: Further folder names that stand for a split, such as `{"set1": "train"}`.
        resplit: Shares of train, val and test, to split anew by drive.
        drive_pattern: Regular expression that finds the drive in a file's name.
        hold_back: Keep the ground truth of train for the oracle, to replay a project.
        fps: Frames a second taken from videos.
        progress: Told after every batch of files.

    Raises:
        IngestError: The source holds no images, or cannot be understood; nothing is written.
    """
    options = Options(
        names=tuple(names) if names else None,
        frames=settings.dataset_folder(name) / "frames",
        split_of=assignment.split_words(split_map),
        fps=fps,
    )
    drive_of = drive_rule(drive_pattern)
    reading, formats = sources.read(Path(os.path.abspath(source)), source_format, options)
    dataset = _open(name, taxonomy)
    before = _Before.of(dataset)
    records, advice = assignment.placed(
        reading.records, drive_of=drive_of, resplit=resplit, existing=before.drives
    )
    doubtful = [problem.filepath for problem in reading.label_problems]
    writer = Writer(dataset, taxonomy, hold_back=hold_back, doubtful=doubtful)
    damaged = _write(writer, records, before, progress)

    failures = (*reading.absent, *damaged)
    problems = (*reading.label_problems, *writer.label_problems)
    duplicates = _tag_duplicates(dataset)
    _note(dataset, [*failures, *problems])
    remarks = _remarks(dataset, duplicates, writer, taxonomy)
    return IngestResult(
        dataset=name,
        formats=formats,
        added=writer.added.total(),
        existing=sum(before.has(record) for record in records),
        labeled=writer.labeled,
        held_back=writer.held_back,
        splits={split: writer.added[split] for split in SPLITS if writer.added[split]},
        failures=failures,
        label_problems=problems,
        duplicates=tuple(tuple(group) for group in duplicates),
        dropped_labels=dict(writer.dropped.most_common()),
        warnings=tuple(advice + remarks if writer.added else remarks),
    )


@dataclass(frozen=True)
class _Before:
    """What the dataset held: ids and content hashes by file, and the split of each drive."""

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
        """Whether the image is there with all that belongs to it."""
        return self.hashes.get(str(record.path)) is not None


def _open(name: str, taxonomy: Taxonomy) -> Any:
    """Return the dataset, new or continued.

    Raises:
        IngestError: Its name cannot be one, it was not made here, or with another taxonomy.
    """
    import fiftyone as fo

    if not fo.dataset_exists(name):
        try:
            dataset = fo.Dataset(name, persistent=True)
        except ValueError as error:
            raise IngestError(f"{name!r} cannot name a dataset: {error}.") from error
    else:
        dataset = fo.load_dataset(name)
        _expect_same(dataset, taxonomy)
    schema.declare(dataset, taxonomy)
    refresh.after_stage(dataset)
    about = dataset.info.get(schema.INFO) or {}
    if "taxonomy" not in about:
        dataset.info[schema.INFO] = {**about, "taxonomy": taxonomies.to_yaml(taxonomy)}
        dataset.save()
    return dataset


def _expect_same(dataset: Dataset, taxonomy: Taxonomy) -> None:
    """Refuse a dataset that was not made by ingesting, or with another taxonomy."""
    text = (dataset.info.get(schema.INFO) or {}).get("taxonomy")
    if text is None and len(dataset):
        raise IngestError(
            f"A dataset {dataset.name!r} is there already, and was not made by ingesting. "
            "To leave its labels alone, give another `--name`."
        )
    if text is not None and taxonomies.parse(text).identity != taxonomy.identity:
        raise IngestError(
            f"The dataset {dataset.name!r} was ingested with another taxonomy, "
            f"{taxonomies.parse(text).name!r}. Give that one, or another `--name`."
        )


def _write(
    writer: Writer, records: Sequence[Record], before: _Before, progress: Progress | None
) -> list[Problem]:
    """Check and write what is not there yet, batch by batch; return the damaged files."""
    waiting = [record for record in records if not before.has(record)]
    damaged: list[Problem] = []
    for start in range(0, len(waiting), BATCH):
        batch = waiting[start : start + BATCH]
        files = validation.check_all([record.path for record in batch])
        whole = [
            (record, file)
            for record, file in zip(batch, files, strict=True)
            if isinstance(file, Checked)
        ]
        damaged += [file for file in files if isinstance(file, Problem)]
        writer.write(whole, before.ids)
        if progress:
            progress(start + len(batch), len(waiting))
    return damaged


def _tag_duplicates(dataset: Dataset) -> list[list[str]]:
    """Tag samples whose file has exactly the bytes of another's; return the groups of files."""
    columns = reader.read_columns(dataset, ["filepath", schema.CONTENT_HASH, "tags"])
    ids, paths, hashes, tags = columns.values()
    groups = validation.exact_duplicates(dict(zip(paths, hashes, strict=True)))
    same = {path for group in groups for path in group}
    store.add_tags(
        dataset,
        {
            one: [schema.DUPLICATE]
            for one, path, has in zip(ids, paths, tags, strict=True)
            if path in same and schema.DUPLICATE not in (has or ())
        },
    )
    return groups


def _note(dataset: Dataset, problems: Sequence[Problem]) -> None:
    """Keep on the dataset what was left out, with the reasons; what was mended goes."""
    before = dataset.info.get(schema.INGEST_INFO) or []
    here = set(dataset.values("filepath"))
    new = [asdict(problem) for problem in problems]
    told = {one["filepath"] for one in new}
    kept = [
        one
        for one in before
        if one["filepath"] not in told
        and (one["error"] == "LabelError" or one["filepath"] not in here)
    ]
    entries = [*kept, *new]
    if len(entries) > _MOST_ON_RECORD:
        more = f"{len(entries) - _MOST_ON_RECORD} more were left out"
        entries = [*entries[:_MOST_ON_RECORD], asdict(Problem("", "IngestError", more))]
    if entries != before:
        dataset.info[schema.INGEST_INFO] = entries
        dataset.save()


def _remarks(
    dataset: Dataset, duplicates: Sequence[Sequence[str]], writer: Writer, taxonomy: Taxonomy
) -> list[str]:
    """Return what else should be known before going on, in sentences."""
    said = []
    columns = reader.read_columns(dataset, ["filepath", schema.SPLIT, schema.LABELED_ROUND])
    split_of = dict(zip(columns["filepath"], columns[schema.SPLIT], strict=True))
    across = [group for group in duplicates if len({split_of.get(path) for path in group}) > 1]
    if across:
        said.append(
            f"{len(across)} images have an exact copy in another split, such as "
            f"{Path(across[0][0]).name}: evaluation sees what training saw. Remove the copies, "
            "or name their drive alike."
        )
    if writer.dropped and not dataset.count(f"{schema.GROUND_TRUTH}.detections") + dataset.count(
        f"{schema.ORACLE}.detections"
    ):
        said.append(
            f"No label means a class of the taxonomy {taxonomy.name!r}, whose classes are "
            f"{', '.join(taxonomy.names)}. Add synonyms to it, or give another `--taxonomy`."
        )
    rounds = zip(columns[schema.SPLIT], columns[schema.LABELED_ROUND], strict=True)
    labeled = {split for split, number in rounds if number is not None}
    missing = [split for split in ("val", "test") if split not in labeled]
    if (writer.labeled or writer.held_back) and missing:
        said.append(
            f"No labeled image is in {' or '.join(missing)}: calibration needs val, and the "
            "verdict needs test. `--resplit` makes both."
        )
    return said
