"""Pascal VOC sources: one XML file per image.

The XML is next to the image, or in `Annotations/` with the image in `JPEGImages/` or `images/`;
lists in `ImageSets/Main/{train,val,test}.txt` are splits. Corners are read as 0-based pixels of
the upright image, as current tools write them. An XML without objects means "labeled, nothing
there"; an image without XML is not labeled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cascade.predictions import Detections
from curation.errors import IngestError
from curation.ingest.records import (
    IMAGE_SUFFIXES,
    SPLITS,
    Problem,
    ReaderOptions,
    ReadResult,
    Record,
    find_files,
    find_images,
    label_problem,
    read_boxes,
)
from curation.labeling.files import voc
from curation.labeling.files.raw_boxes import FormatError, RawBox
from curation.storage.conversions import from_pixels

_SIDES = ((1, "height"), (0, "width"))  # with their index in `VocFile.size_wh`
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", ".")


def read(source: Path, options: ReaderOptions) -> ReadResult:
    """Return the images of a VOC folder with their boxes.

    Raises:
        IngestError: The folder has no annotations.
    """
    annotations = annotation_files(source)
    if not annotations:
        raise IngestError(
            f"{source} has no VOC annotation: expected .xml files with <annotation>, next to the "
            "images or in `Annotations/`."
        )
    splits = _listed_splits(source)

    def split_of(image: Path) -> str | None:
        return splits.get(image.stem) or options.folder_split(image, source)

    records: dict[Path, Record] = {}
    absent: list[Problem] = []
    problems: list[Problem] = []
    for path in annotations:
        image = _find_image(path)
        if image is None:
            message = f"The image of {path.name} does not exist."
            absent.append(Problem(str(path), "FileNotFoundError", message))
            continue
        boxes, size, reasons = parse_labels(path.read_bytes())
        problems += label_problem(image, reasons)
        records[image] = Record(image, boxes=boxes, split=split_of(image), labeled_size_px=size)
    for image in find_images(source):
        records.setdefault(image, Record(image, split=split_of(image)))
    ordered = tuple(records[image] for image in sorted(records))
    return ReadResult(ordered, tuple(absent), tuple(problems))


def annotation_files(source: Path) -> list[Path]:
    """Return the XML files of a folder that look like VOC."""
    files = find_files(source, {".xml"})
    return [path for path in files if b"<annotation" in path.read_bytes()[:1000]]


def parse_labels(text: bytes) -> tuple[Detections | None, tuple[int, int] | None, list[str]]:
    """Return the boxes, the image's height and width in pixels, and the reasons for omissions.

    The boxes are None, meaning "not labeled", if the text is not XML or gives no image size.
    """
    try:
        content = voc.parse(text)
        height, width = (_parse_side(content.size_wh[i], side) for i, side in _SIDES)
    except ValueError as error:
        return None, None, [f"the annotation cannot be read: {error}"]
    if height <= 0 or width <= 0:
        return None, None, [f"the image must have a size, got {width} x {height}"]
    entries = ((f"object {i}", item) for i, item in enumerate(content.objects, start=1))
    size = (height, width)
    truth, reasons = read_boxes(entries, _box_problem, lambda px: from_pixels(px, size))
    return truth, size, reasons


def _parse_side(text: str | None, side: str) -> int:
    if text is None:
        raise FormatError(f"<size/{side}> is missing")
    return int(float(text))


def _box_problem(box: RawBox) -> str | None:
    x1, y1, x2, y2 = box.numbers
    if box.label is None:
        return "<name> is missing."
    if not (np.isfinite(box.numbers).all() and x1 < x2 and y1 < y2):
        return f"The box must have extent, got {list(box.numbers)}."
    return None


def _find_image(annotation: Path) -> Path | None:
    """Return the image with the annotation's stem from the usual folders, or None."""
    folders = [annotation.parent]
    if annotation.parent.name.lower() == "annotations":
        folders += [annotation.parent.parent / name for name in _IMAGE_FOLDERS]
    for folder in folders:
        for suffix in sorted(IMAGE_SUFFIXES):
            for spelling in (suffix, suffix.upper()):
                candidate = folder / f"{annotation.stem}{spelling}"
                if candidate.is_file():
                    return Path(os.path.abspath(candidate))
    return None


def _listed_splits(source: Path) -> Mapping[str, str]:
    """Return the split of each image stem in the lists of `ImageSets/Main`."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = source / "ImageSets" / "Main" / f"{split}.txt"
        if path.is_file():
            lines = path.read_text().splitlines()
            splits |= {line.split()[0]: split for line in lines if line.strip()}
    return splits
