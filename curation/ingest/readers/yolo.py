"""YOLO folders: images with one label file each.

Both common layouts are read: `images/train/a.jpg` with `labels/train/a.txt`, and Roboflow's
`train/images/a.jpg` with `train/labels/a.txt`. An empty label file means "labeled, nothing
there", a missing one "not labeled". Boxes are relative to the upright image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade.predictions import Detections
from curation.errors import IngestError
from curation.ingest.records import (
    Problem,
    ReaderOptions,
    ReadResult,
    Record,
    find_files,
    find_images,
    label_problem,
    read_boxes,
)
from curation.labeling.files import yolo
from curation.labeling.files.raw_boxes import RawBox
from curation.storage.conversions import cxcywh_to_xyxy

_YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.yaml")
_TEXT_FILES = ("classes.txt", "obj.names")


def read(source: Path, options: ReaderOptions) -> ReadResult:
    """Return the images of a YOLO folder with their boxes.

    Raises:
        IngestError: The class names are neither given nor found.
    """
    names = options.names or find_names(source)
    if names is None:
        raise IngestError(
            f"{source} has YOLO labels but no class names. Give them in order, "
            "`--names 'cone,drum'`, or add a data.yaml with `names:`."
        )
    records: list[Record] = []
    problems: list[Problem] = []
    for path in find_images(source):
        label_file = find_label_file(path, source)
        boxes = None
        if label_file is not None:
            try:
                text = label_file.read_text()
            except (OSError, UnicodeDecodeError) as error:
                problems += label_problem(path, [f"{label_file.name} cannot be read: {error}"])
            else:
                boxes, reasons = parse_labels(text, names)
                problems += label_problem(path, reasons)
        records.append(Record(path, boxes=boxes, split=options.folder_split(path, source)))
    return ReadResult(tuple(records), label_problems=tuple(problems))


def is_yolo(source: Path) -> bool:
    """Return whether a folder has a file of class names, or label files in a folder `labels`."""
    if any((source / name).is_file() for name in _YAML_FILES):
        return True
    return any("labels" in path.parts for path in find_files(source, {".txt"}))


def parse_labels(text: str, names: Sequence[str]) -> tuple[Detections, list[str]]:
    """Return the boxes of a label file, and the reason for each row that was left out.

    Boxes are clipped to the image.
    """
    rows = yolo.parse(text, names, fractional_classes=True)
    entries = ((f"row {number}", row) for number, row in rows.items())
    return read_boxes(entries, _range_problem, cxcywh_to_xyxy, names)


def find_names(source: Path) -> tuple[str, ...] | None:
    """Return the class names stored with the data, or None.

    Raises:
        IngestError: A file of class names exists but cannot be parsed.
    """
    for path in (source / name for name in (*_YAML_FILES, *_TEXT_FILES)):
        if not path.is_file():
            continue
        if path.name in _TEXT_FILES:
            return tuple(yolo.parse_name_list(path.read_text()))
        try:
            return tuple(yolo.parse_names(path.read_text(), any_keys=True))
        except ValueError as error:
            raise IngestError(
                f"{path} must contain `names:` with a list of class names ({error}). "
                "Fix the file, or give the names with `--names`."
            ) from error
    return None


def find_label_file(image: Path, root: Path) -> Path | None:
    """Return the label file of an image, or None if there is none.

    The last folder named `images` in the path is replaced by `labels`; without such a folder the
    label file is next to the image.
    """
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    candidate = root.joinpath(*parts)
    return candidate if candidate.is_file() else None


def _range_problem(box: RawBox) -> str | None:
    if not all(0 <= number <= 1 for number in box.numbers):  # also false for NaN
        return f"Coordinates must be in [0, 1], got {' '.join(map(str, box.numbers))}."
    return "The box has no extent." if 0 in box.numbers[2:] else None
