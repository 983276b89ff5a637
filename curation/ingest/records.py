"""What a reader says about each image of a source, and what it could not make sense of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cascade.predictions import Detections

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})

SPLITS = ("train", "val", "test")
SPLIT_WORDS: Mapping[str, str] = {
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
        path: The image file, absolute.
        boxes: Its labels, in the source's own words; empty for "labeled, nothing there", None
            where nobody labeled it.
        split: `train`, `val` or `test`; None where the source does not say.
        drive: The drive that it belongs to; None where the source does not say.
        time_s: Seconds within the drive.
        time_of_day: `day` or `night`.
        weather: `clear`, `rain`, ...
        labeled_size_px: Height and width of the image that the boxes were drawn on, where the
            source says so.
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
    """Something that was left out, and why.

    Attributes:
        filepath: The image that it belongs to, or else the file that it stands in.
        error: The kind: an error class, or `LabelError` for rows of labels.
        message: What was expected and what came, in one line.
    """

    filepath: str
    error: str
    message: str


@dataclass(frozen=True)
class Reading:
    """What a reader found.

    Attributes:
        records: The images.
        absent: Images that the source names and that cannot be had.
        label_problems: Labels that were left out; their images are among the records.
    """

    records: tuple[Record, ...]
    absent: tuple[Problem, ...] = ()
    label_problems: tuple[Problem, ...] = ()

    def __add__(self, other: Reading) -> Reading:
        return Reading(
            self.records + other.records,
            self.absent + other.absent,
            self.label_problems + other.label_problems,
        )


@dataclass(frozen=True)
class Options:
    """What a reader may have to be told.

    Attributes:
        names: Class names of YOLO rows, in order; None to find them beside the data.
        split_of: The split that a folder's name stands for, lower case.
        fps: Frames a second that are taken from a video.
        frames: Where frames of videos are kept.
    """

    names: tuple[str, ...] | None
    frames: Path
    split_of: Mapping[str, str] = field(default_factory=lambda: dict(SPLIT_WORDS))
    fps: float = 1.0


Reader = Callable[[Path, Options], Reading]


def files_under(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return all files below a folder with one of the suffixes, sorted; hidden ones left out."""
    wanted = frozenset(suffixes)
    return sorted(path for path in _walk(folder) if path.suffix.lower() in wanted)


def split_from(path: Path, root: Path, split_of: Mapping[str, str]) -> str | None:
    """Return the split that the nearest folder between `root` and `path` stands for."""
    for part in reversed(path.relative_to(root).parts[:-1]):
        if part.lower() in split_of:
            return split_of[part.lower()]
    return None


def label_problem(image: Path, reasons: Sequence[str]) -> list[Problem]:
    """Return the problems of one image's labels as one entry, or none."""
    if not reasons:
        return []
    shown = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if reasons[5:] else "")
    return [Problem(str(image), "LabelError", shown)]


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in names if not name.startswith("."))
