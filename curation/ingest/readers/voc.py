"""Pascal VOC: for each image an XML file with the corners of its boxes in pixels.

The XML lies beside the image, or in `Annotations/` with the image in `JPEGImages/` or
`images/`; lists in `ImageSets/Main/{train,val,test}.txt` are splits. Corners are taken as they
stand (0-based, as today's tools write them), in pixels of the upright image. An XML without
objects means "labeled, nothing there"; an image without XML is not labeled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from cascade.predictions import Detections
from curation.errors import IngestError
from curation.ingest.records import (
    IMAGE_SUFFIXES,
    SPLITS,
    Options,
    Problem,
    Reading,
    Record,
    files_under,
    label_problem,
    split_from,
)
from curation.storage.conversions import from_pixels, inside

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", ".")


def read(source: Path, options: Options) -> Reading:
    """Return the images of a VOC folder with their boxes.

    Raises:
        IngestError: There is no annotation.
    """
    annotations = annotation_files(source)
    if not annotations:
        raise IngestError(
            f"{source} has no VOC annotation: expected .xml files with <annotation>, beside the "
            "images or in `Annotations/`."
        )
    splits = _splits(source)
    records: dict[Path, Record] = {}
    absent: list[Problem] = []
    problems: list[Problem] = []
    for path in annotations:
        image = _image_of(path)
        if image is None:
            message = f"The image of {path.name} is not there."
            absent.append(Problem(str(path), "FileNotFoundError", message))
            continue
        boxes, size, reasons = parse(path.read_bytes())
        problems += label_problem(image, reasons)
        split = splits.get(image.stem) or split_from(image, source, options.split_of)
        records[image] = Record(image, boxes=boxes, split=split, labeled_size_px=size)
    for image in files_under(source, IMAGE_SUFFIXES):
        split = splits.get(image.stem) or split_from(image, source, options.split_of)
        records.setdefault(image, Record(image, split=split))
    ordered = tuple(records[image] for image in sorted(records))
    return Reading(ordered, tuple(absent), tuple(problems))


def annotation_files(source: Path) -> list[Path]:
    """Return the XML files of a folder that look like VOC."""
    files = files_under(source, {".xml"})
    return [path for path in files if b"<annotation" in path.read_bytes()[:1000]]


def parse(text: bytes) -> tuple[Detections | None, tuple[int, int] | None, list[str]]:
    """Return the boxes, the size of the image in pixels, and the reasons for what is missing.

    Without a size, or where the text is no XML, there are no boxes: not labeled.
    """
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        return None, None, ["a document type is not accepted"]  # entities could unfold for ever
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities, checked above
        height, width = (int(float(_text(root, f"size/{side}"))) for side in ("height", "width"))
    except (ElementTree.ParseError, ValueError) as error:
        return None, None, [f"the annotation cannot be read: {error}"]
    if height <= 0 or width <= 0:
        return None, None, [f"the image must have a size, got {width} x {height}"]
    labels: list[str] = []
    boxes: list[list[float]] = []
    reasons: list[str] = []
    for number, item in enumerate(root.iter("object"), start=1):
        try:
            corners = [
                float(_text(item, f"bndbox/{one}")) for one in ("xmin", "ymin", "xmax", "ymax")
            ]
            name = _text(item, "name").strip()
        except ValueError as error:
            reasons.append(f"object {number}: {error}")
            continue
        if not (np.isfinite(corners).all() and corners[0] < corners[2] and corners[1] < corners[3]):
            reasons.append(f"object {number}: the box must have extent, got {corners}")
            continue
        labels.append(name)
        boxes.append(corners)
    return _detections(labels, boxes, (height, width)), (height, width), reasons


def _detections(labels: list[str], boxes: list[list[float]], size: tuple[int, int]) -> Detections:
    names = tuple(dict.fromkeys(labels))
    corners = inside(from_pixels(np.array(boxes, np.float64), size))
    return Detections(
        boxes_xyxy=corners.astype(np.float32),
        scores=np.ones(len(boxes), np.float32),
        class_ids=np.array([names.index(label) for label in labels], np.int64),
        classes=names,
    )


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{path}> is missing")
    return text


def _image_of(annotation: Path) -> Path | None:
    """Return the image that an annotation belongs to: of the same name, in the usual places."""
    folders = [annotation.parent]
    if annotation.parent.name.lower() == "annotations":
        folders += [annotation.parent.parent / name for name in _IMAGE_FOLDERS]
    for folder in folders:
        for suffix in sorted(IMAGE_SUFFIXES):
            for spelt in (suffix, suffix.upper()):
                candidate = folder / f"{annotation.stem}{spelt}"
                if candidate.is_file():
                    return Path(os.path.abspath(candidate))
    return None


def _splits(source: Path) -> Mapping[str, str]:
    """Return the split of each image name that the lists tell."""
    found: dict[str, str] = {}
    for split in SPLITS:
        path = source / "ImageSets" / "Main" / f"{split}.txt"
        if path.is_file():
            found |= {
                line.split()[0]: split for line in path.read_text().splitlines() if line.strip()
            }
    return found
