"""COCO sources: JSON files with images, categories and boxes.

The JSON is in the folder, in its `annotations/`, or (Roboflow) next to each split's images.
Images may have the extra keys that our own export writes: `drive`, `time_s`, `split`,
`time_of_day` and `weather`. An image without annotations is "labeled, nothing there". Images of a
file without the key `annotations`, and images that no file lists, are not labeled. Boxes are in
pixels of the upright image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cascade.arrays import Float64Array
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
from curation.labeling.files import coco
from curation.labeling.files.coco import CocoFile
from curation.labeling.files.raw_boxes import FormatError, RawBox
from curation.labeling.protocol import Doubt
from curation.storage.conversions import from_pixels, xywh_to_xyxy


def read(source: Path, options: ReaderOptions) -> ReadResult:
    """Return the images of all COCO files of a folder, or of one file, with their boxes.

    Raises:
        IngestError: No COCO file was found, or a file is not in COCO format.
    """
    files = [source] if source.is_file() else annotation_files(source)
    if not files:
        raise IngestError(
            f"{source} has no COCO file: expected a .json with `images` and `annotations` in the "
            "folder, in `annotations/`, or next to the images of each split."
        )
    root = source.parent if source.is_file() else source
    result = ReadResult(())
    for path in files:
        result += _read_file(path, root, options)
    records, repeats = _unique(result.records)
    if source.is_dir():
        listed = {record.path for record in records}
        records += [
            Record(path, split=options.folder_split(path, root))
            for path in find_images(source)
            if path not in listed
        ]
    return ReadResult(tuple(records), result.absent, (*result.label_problems, *repeats))


def annotation_files(source: Path) -> list[Path]:
    """Return the JSON files of a folder that look like COCO."""
    return [path for path in find_files(source, {".json"}) if _looks_like_coco(path)]


def _looks_like_coco(path: Path) -> bool:
    text = path.read_bytes()
    return b'"images"' in text and b'"categories"' in text


def _unique(records: Sequence[Record]) -> tuple[list[Record], list[Problem]]:
    """Return the first record of each image, and a problem for each further one."""
    first: dict[Path, Record] = {}
    repeats: list[Problem] = []
    for record in records:
        if record.path in first:
            repeats += label_problem(record.path, ["a second COCO entry of the image was left out"])
        first.setdefault(record.path, record)
    return list(first.values()), repeats


def _read_file(path: Path, root: Path, options: ReaderOptions) -> ReadResult:
    content = _parse(path)
    labeled = content.annotations is not None
    orphans = dict(content.annotations or {})
    split = _split_of_file(path, root, options)
    records: list[Record] = []
    absent: list[Problem] = []
    problems: list[Problem] = []
    for image in content.images:
        file = _find_image(str(image["file_name"]), path, root)
        if file is None:
            message = f"{path.name} lists {image['file_name']}, which does not exist."
            absent.append(Problem(str(image["file_name"]), "FileNotFoundError", message))
            continue
        boxes, reasons = _boxes(orphans.pop(image["id"], ()), image, content.labels)
        problems += label_problem(file, reasons)
        records.append(_record(file, image, boxes if labeled else None, split, options))
    if orphans:
        message = f"{sum(map(len, orphans.values()))} annotations belong to no image of the file."
        problems.append(Problem(str(path), "LabelError", message))
    return ReadResult(tuple(records), tuple(absent), tuple(problems))


def _parse(path: Path) -> CocoFile:
    try:
        content = coco.parse(path.read_bytes())
    except FormatError as error:
        raise IngestError(
            f"{path} is not a COCO file ({error}). Expected an object with "
            "`images` (id, file_name), `categories` (id, name) and `annotations`."
        ) from error
    if len({image["id"] for image in content.images}) != len(content.images):
        raise IngestError(f"{path}: two images have the same id. Ids must be unique.")
    return content


def _boxes(
    annotations: Sequence[Mapping[str, Any]], image: Mapping[str, Any], labels: Mapping[Any, str]
) -> tuple[Detections, list[str]]:
    """Return the boxes of one image, and the reason for each annotation that was left out."""
    size = _size(image)
    entries = (
        (
            f"annotation {annotation.get('id')}",
            _parse_box(annotation, labels) if size else Doubt("", "The image has no size."),
        )
        for annotation in annotations
    )

    def to_relative(xywh_px: Float64Array) -> Float64Array:
        return from_pixels(xywh_to_xyxy(xywh_px), size or (1, 1))

    return read_boxes(entries, _extent_problem, to_relative, tuple(dict.fromkeys(labels.values())))


def _parse_box(annotation: Mapping[str, Any], labels: Mapping[Any, str]) -> RawBox | Doubt:
    box = coco.parse_box(annotation, labels)
    if annotation.get("iscrowd") and isinstance(box, RawBox):
        return Doubt("crowd", "A crowd is not a single object.")
    return box


def _extent_problem(box: RawBox) -> str | None:
    if np.isfinite(box.numbers).all() and min(box.numbers[2:]) > 0:
        return None
    return f"The box must have extent, got {list(box.numbers)}."


def _record(
    file: Path,
    image: Mapping[str, Any],
    boxes: Detections | None,
    split: str | None,
    options: ReaderOptions,
) -> Record:
    own_split = image.get("split")
    if own_split and str(own_split).lower() not in options.split_of:
        raise IngestError(
            f"The split of {image['file_name']} must be train, val or test, got {str(own_split)!r}."
        )
    time_s = image.get("time_s")
    return Record(
        path=file,
        boxes=boxes,
        split=options.split_of[str(own_split).lower()] if own_split else split,
        drive=None if image.get("drive") is None else str(image["drive"]),
        time_s=None if time_s is None else float(time_s),
        time_of_day=image.get("time_of_day"),
        weather=image.get("weather"),
        labeled_size_px=_size(image),
    )


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


def _find_image(file_name: str, annotations: Path, root: Path) -> Path | None:
    """Return the image of that name from the usual folders, or None."""
    stem = annotations.stem.removeprefix("instances_")
    folders = [annotations.parent, annotations.parent.parent, root]
    for parent in (folder / part for folder in folders for part in (".", "images", "data", stem)):
        candidate = Path(os.path.abspath(parent / file_name))
        if candidate.is_file():
            return candidate
    return None


def _split_of_file(path: Path, root: Path, options: ReaderOptions) -> str | None:
    """Return the split of a file such as `instances_val2017.json` or `valid/_annotations...`."""
    split = options.folder_split(path, root)
    if split:
        return split
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((options.split_of[word] for word in words if word in options.split_of), None)
