"""COCO: one JSON file with images, categories and boxes in pixels.

The JSON lies in the folder, in its `annotations/`, or (Roboflow) beside each split's images.
Images may bear further keys, which our own export writes: `drive`, `time_s`, `split`,
`time_of_day` and `weather`. An image without annotations is "labeled, nothing there"; a file
without `annotations` at all labels nothing, and neither are images labeled that no file names.
Boxes are in pixels of the upright image.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from curation.storage.conversions import from_pixels, inside, xywh_to_xyxy

_SHOWN = 60  # characters of a wrong value


def read(source: Path, options: Options) -> Reading:
    """Return the images of all COCO files of a folder, or of one file, with their boxes.

    Raises:
        IngestError: There is no such file, or one is no COCO.
    """
    found = [source] if source.is_file() else annotation_files(source)
    if not found:
        raise IngestError(
            f"{source} has no COCO file: expected a .json with `images` and `annotations` in it, "
            "in `annotations/`, or beside the images of each split."
        )
    root = source.parent if source.is_file() else source
    reading = Reading(())
    for path in found:
        reading += _read_file(path, root, options)
    records, twice = _once(reading.records)
    if source.is_dir():
        named = {record.path for record in records}
        records += [
            Record(path, split=split_from(path, root, options.split_of))
            for path in files_under(source, IMAGE_SUFFIXES)
            if path not in named
        ]
    return Reading(tuple(records), reading.absent, (*reading.label_problems, *twice))


def annotation_files(source: Path) -> list[Path]:
    """Return the JSON files of a folder that look like COCO."""
    return [path for path in files_under(source, {".json"}) if _looks_like_coco(path)]


def _once(records: Sequence[Record]) -> tuple[list[Record], list[Problem]]:
    """Return each image once, as it was first named, and what came a second time."""
    first: dict[Path, Record] = {}
    twice: list[Problem] = []
    for record in records:
        if record.path in first:
            twice += label_problem(record.path, ["a second COCO entry names it: left out"])
        first.setdefault(record.path, record)
    return list(first.values()), twice


def _looks_like_coco(path: Path) -> bool:
    text = path.read_bytes()
    return b'"images"' in text and b'"categories"' in text


def _read_file(path: Path, root: Path, options: Options) -> Reading:
    content = _content(path)
    categories = {one["id"]: str(one["name"]) for one in content["categories"]}
    rows: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in content.get("annotations") or ():
        rows[row.get("image_id")].append(row)
    split = _split_of_file(path, root, options)
    records: list[Record] = []
    absent: list[Problem] = []
    problems: list[Problem] = []
    for image in content["images"]:
        file = _find(str(image["file_name"]), path, root)
        if file is None:
            message = f"{path.name} names {image['file_name']}, which is not there."
            absent.append(Problem(str(image["file_name"]), "FileNotFoundError", message))
            continue
        boxes, reasons = _boxes(rows.pop(image["id"], ()), image, categories)
        problems += label_problem(file, reasons)
        labeled = content.get("annotations") is not None
        records.append(_record(file, image, boxes if labeled else None, split, options))
    if rows:
        lost = sum(map(len, rows.values()))
        message = f"{lost} annotations belong to no image of the file."
        problems.append(Problem(str(path), "LabelError", message))
    return Reading(tuple(records), tuple(absent), tuple(problems))


def _content(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_bytes())
        ids = [(one["id"], one["file_name"]) for one in content["images"]]
        _ = [(one["id"], one["name"]) for one in content["categories"]]
    except (ValueError, KeyError, TypeError) as error:
        raise IngestError(
            f"{path} is no COCO file ({type(error).__name__}: {error}). Expected an object with "
            "`images` (id, file_name), `categories` (id, name) and `annotations`."
        ) from error
    if len({one for one, _ in ids}) != len(ids):
        raise IngestError(f"{path}: two images have the same id. Each must have its own.")
    return dict(content)


def _boxes(
    rows: Sequence[Mapping[str, Any]], image: Mapping[str, Any], categories: Mapping[Any, str]
) -> tuple[Detections, list[str]]:
    """Return the boxes of one image, and for each annotation that is none, the reason."""
    names = tuple(dict.fromkeys(categories.values()))
    boxes: list[list[float]] = []
    class_ids: list[int] = []
    reasons: list[str] = []
    size = _size(image)
    for row in rows:
        wrong = "the image has no width and height" if size is None else _wrong(row, categories)
        if wrong:
            reasons.append(f"annotation {row.get('id')}: {wrong}")
            continue
        boxes.append([float(one) for one in row["bbox"]])
        class_ids.append(names.index(categories[row["category_id"]]))
    corners = from_pixels(xywh_to_xyxy(np.array(boxes, np.float64)), size or (1, 1))
    detections = Detections(
        boxes_xyxy=inside(corners).astype(np.float32),
        scores=np.ones(len(boxes), np.float32),
        class_ids=np.array(class_ids, np.int64),
        classes=names,
    )
    return detections, reasons


def _wrong(row: Mapping[str, Any], categories: Mapping[Any, str]) -> str | None:
    box = row.get("bbox")
    if row.get("category_id") not in categories:
        return f"category {row.get('category_id')} is unknown"
    if row.get("iscrowd"):
        return "a crowd is no single object"
    try:
        x, y, width, height = map(float, box or ())
    except (TypeError, ValueError):
        return f"bbox must be 4 numbers, got {str(box)[:_SHOWN]}"
    if not (np.isfinite([x, y, width, height]).all() and width > 0 and height > 0):
        return f"the box must have extent, got {str(box)[:_SHOWN]}"
    return None


def _record(
    file: Path,
    image: Mapping[str, Any],
    boxes: Detections | None,
    split: str | None,
    options: Options,
) -> Record:
    said = image.get("split")
    if said and str(said).lower() not in options.split_of:
        raise IngestError(
            f"The split of {image['file_name']} must be train, val or test, got {str(said)!r}."
        )
    time_s = image.get("time_s")
    return Record(
        path=file,
        boxes=boxes,
        split=options.split_of[str(said).lower()] if said else split,
        drive=None if image.get("drive") is None else str(image["drive"]),
        time_s=None if time_s is None else float(time_s),
        time_of_day=image.get("time_of_day"),
        weather=image.get("weather"),
        labeled_size_px=_size(image),
    )


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


def _find(file_name: str, annotations: Path, root: Path) -> Path | None:
    """Return the image of that name, looked for in the usual places."""
    stem = annotations.stem.removeprefix("instances_")
    folders = [annotations.parent, annotations.parent.parent, root]
    for place in (folder / part for folder in folders for part in (".", "images", "data", stem)):
        candidate = Path(os.path.abspath(place / file_name))
        if candidate.is_file():
            return candidate
    return None


def _split_of_file(path: Path, root: Path, options: Options) -> str | None:
    """Return the split of a file such as `instances_val2017.json` or `valid/_annotations...`."""
    folder = split_from(path, root, options.split_of)
    if folder:
        return folder
    for word in re.split(r"[^a-z]+", path.stem.lower()):
        if word in options.split_of:
            return options.split_of[word]
    return None
