"""YOLO: for each image a text file with one row `class cx cy w h` per box, all relative.

Both usual layouts are read: `images/train/a.jpg` with `labels/train/a.txt`, and Roboflow's
`train/images/a.jpg` with `train/labels/a.txt`. An empty label file means "labeled, nothing
there"; none at all means "not labeled". Boxes are relative to the upright image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cascade.predictions import Detections
from curation.errors import IngestError
from curation.ingest.records import (
    IMAGE_SUFFIXES,
    Options,
    Problem,
    Reading,
    Record,
    files_under,
    label_problem,
    split_from,
)
from curation.storage.conversions import cxcywh_to_xyxy, inside

_NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.yaml")
_NAME_LISTS = ("classes.txt", "obj.names")


def read(source: Path, options: Options) -> Reading:
    """Return the images of a YOLO folder with their boxes.

    Raises:
        IngestError: The class names are neither given nor found.
    """
    names = options.names or find_names(source)
    if names is None:
        raise IngestError(
            f"{source} has YOLO labels, but nothing tells the names of the classes. Give them in "
            "order, `--names 'cone,drum'`, or put a data.yaml with `names:` there."
        )
    records: list[Record] = []
    problems: list[Problem] = []
    for path in files_under(source, IMAGE_SUFFIXES):
        label_file = label_file_of(path, source)
        boxes = None
        if label_file is not None:
            try:
                text = label_file.read_text()
            except (OSError, UnicodeDecodeError) as error:
                problems += label_problem(path, [f"{label_file.name} cannot be read: {error}"])
            else:
                boxes, reasons = parse(text, names)
                problems += label_problem(path, reasons)
        split = split_from(path, source, options.split_of)
        records.append(Record(path, boxes=boxes, split=split))
    return Reading(tuple(records), label_problems=tuple(problems))


def is_here(source: Path) -> bool:
    """Return whether a folder looks like YOLO: label files in a folder `labels`, or a name file."""
    if any((source / name).is_file() for name in _NAME_FILES):
        return True
    return any("labels" in path.parts for path in files_under(source, {".txt"}))


def parse(text: str, names: Sequence[str]) -> tuple[Detections, list[str]]:
    """Return the boxes of a label file, and for each row that is none, the reason.

    A box that reaches over the image's border is cut off there.
    """
    boxes: list[list[float]] = []
    class_ids: list[int] = []
    reasons: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        row = line.split()
        if not row:
            continue
        wrong = _wrong(row, len(names))
        if wrong:
            reasons.append(f"row {number}: {wrong}")
            continue
        class_ids.append(int(float(row[0])))
        boxes.append([float(one) for one in row[1:]])
    corners = inside(cxcywh_to_xyxy(np.array(boxes, np.float64)))
    detections = Detections(
        boxes_xyxy=corners.astype(np.float32),
        scores=np.ones(len(boxes), np.float32),
        class_ids=np.array(class_ids, np.int64),
        classes=tuple(names),
    )
    return detections, reasons


def find_names(source: Path) -> tuple[str, ...] | None:
    """Return the class names that a file beside the data tells, or None.

    Raises:
        IngestError: The file is there and cannot be understood.
    """
    for name in _NAME_FILES:
        if (source / name).is_file():
            return _names_of(source / name)
    for name in _NAME_LISTS:
        if (source / name).is_file():
            lines = (source / name).read_text().splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return None


def label_file_of(image: Path, root: Path) -> Path | None:
    """Return the label file of an image, or None where there is none.

    The last folder `images` on the way is `labels` there; else it lies beside the image.
    """
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    for i in reversed(range(len(parts) - 1)):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    candidate = root.joinpath(*parts)
    return candidate if candidate.is_file() else None


def _wrong(row: Sequence[str], n_classes: int) -> str | None:
    """Return what is wrong with a row, or None."""
    if len(row) != 5:
        return f"expected 5 numbers, got {len(row)}"
    try:
        class_id, cx, cy, width, height = map(float, row)
    except ValueError:
        return f"expected numbers, got {' '.join(row)[:60]!r}"
    if not math.isfinite(class_id) or class_id != int(class_id):
        return f"the class must be a whole number, got {row[0]}"
    if not 0 <= class_id < n_classes:
        return f"class {int(class_id)} is unknown, there are {n_classes}"
    if not all(0 <= one <= 1 for one in (cx, cy, width, height)):  # NaN is not
        return f"coordinates must lie in 0..1, got {' '.join(row[1:])}"
    if width == 0 or height == 0:
        return "the box has no extent"
    return None


def _names_of(path: Path) -> tuple[str, ...]:
    try:
        content: Any = yaml.safe_load(path.read_text())
        names = content["names"]
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names, key=int)]
        return tuple(str(one) for one in names)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise IngestError(
            f"{path} should hold `names:` with a list of class names ({type(error).__name__}). "
            "Mend it, or give the names with `--names`."
        ) from error
