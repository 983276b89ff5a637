"""Records of images and problems that the readers of a source return."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cascade.arrays import Float64Array
from cascade.predictions import Detections
from curation.labeling.files.raw_boxes import RawBox
from curation.labeling.protocol import Doubt
from curation.storage.conversions import inside

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})

SPLITS = ("train", "val", "test")
SPLIT_ALIASES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, eq=False)
class Record:
    """One image of a source.

    Attributes:
        path: Absolute path of the image file.
        boxes: Ground truth in the source's own class names; empty for "labeled, nothing there",
            None for an unlabeled image.
        split: `train`, `val` or `test`; None if the source does not say.
        drive: Name of the drive; None if the source does not say.
        time_s: Seconds since the start of the drive.
        time_of_day: `day` or `night`.
        weather: `clear`, `rain`, ...
        labeled_size_px: Height and width of the image that the boxes were drawn on; None if the
            source does not say.
    """

    path: Path
    boxes: Detections | None = None
    split: str | None = None
    drive: str | None = None
    time_s: float | None = None
    time_of_day: str | None = None
    weather: str | None = None
    labeled_size_px: tuple[int, int] | None = None


@dataclass(frozen=True)
class Problem:
    """An image or label that was left out, with the reason.

    Attributes:
        filepath: The affected image, or the file that contains the problem.
        error: Error class, or `LabelError` for labels.
        message: What was expected and what was found, in one line.
    """

    filepath: str
    error: str
    message: str


@dataclass(frozen=True)
class ReadResult:
    """Content of a source.

    Attributes:
        records: The images.
        absent: Images that the source lists but that cannot be read.
        label_problems: Labels that were left out; their images are in `records`.
    """

    records: tuple[Record, ...]
    absent: tuple[Problem, ...] = ()
    label_problems: tuple[Problem, ...] = ()

    def __add__(self, other: ReadResult) -> ReadResult:
        return ReadResult(
            self.records + other.records,
            self.absent + other.absent,
            self.label_problems + other.label_problems,
        )


@dataclass(frozen=True)
class ReaderOptions:
    """Options of the readers.

    Attributes:
        names: Class names of YOLO rows, in order; None to read them from the source.
        frames: Folder for frames extracted from videos.
        split_of: Split by folder name in lower case.
        fps: Frames per second to extract from videos.
    """

    names: tuple[str, ...] | None
    frames: Path
    split_of: Mapping[str, str] = field(default_factory=lambda: dict(SPLIT_ALIASES))
    fps: float = 1.0

    def folder_split(self, path: Path, root: Path) -> str | None:
        """Return the split of the nearest folder between `root` and `path` that names one."""
        for part in reversed(path.relative_to(root).parts[:-1]):
            if part.lower() in self.split_of:
                return self.split_of[part.lower()]
        return None


Reader = Callable[[Path, ReaderOptions], ReadResult]


def find_files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return all files below a folder with one of the suffixes, sorted and without hidden ones."""
    wanted = frozenset(suffixes)
    return sorted(path for path in _walk(folder) if path.suffix.lower() in wanted)


def find_images(folder: Path) -> list[Path]:
    """Return all image files below a folder, sorted."""
    return find_files(folder, IMAGE_SUFFIXES)


def read_boxes(
    entries: Iterable[tuple[str, RawBox | Doubt]],
    find_problem: Callable[[RawBox], str | None],
    to_relative: Callable[[Float64Array], Float64Array],
    classes: Sequence[str] | None = None,
) -> tuple[Detections, list[str]]:
    """Return the entries of a label file as ground truth, and the reason for each omission.

    Args:
        entries: Name of each entry in the file, such as `row 3`, and its box or doubt.
        find_problem: Returns the reason to leave a box out, or None.
        to_relative: Converts numbers of boxes, shape (N, 4), to relative corners. These are
            clipped to the image.
        classes: Class names; None for the labels of the boxes.
    """
    boxes: list[RawBox] = []
    reasons: list[str] = []
    for name, entry in entries:
        reason = entry.reason if isinstance(entry, Doubt) else find_problem(entry)
        if reason:
            reasons.append(f"{name}: {reason}")
        elif isinstance(entry, RawBox):
            boxes.append(entry)
    labels = [str(box.label) for box in boxes]
    names = tuple(dict.fromkeys(labels)) if classes is None else tuple(classes)
    numbers = np.array([box.numbers for box in boxes], np.float64).reshape(-1, 4)
    truth = Detections(
        boxes_xyxy=inside(to_relative(numbers)).astype(np.float32),
        scores=np.ones(len(boxes), np.float32),
        class_ids=np.array([names.index(label) for label in labels], np.int64),
        classes=names,
    )
    return truth, reasons


def label_problem(image: Path, reasons: Sequence[str]) -> list[Problem]:
    """Return one problem that lists the first five reasons; empty if there are no reasons."""
    if not reasons:
        return []
    message = "; ".join(reason.rstrip(".") for reason in reasons[:5])
    more = f"; and {len(reasons) - 5} more" if reasons[5:] else ""
    return [Problem(str(image), "LabelError", message + more)]


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in names if not name.startswith("."))
