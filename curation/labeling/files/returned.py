"""Submissions from returned files: parsed boxes in the classes and units of the dataset.

An image that a returned file lists is labeled; without boxes, it shows nothing. An image without
an entry is not labeled. For names that match no image of the round, only the name is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.files import coco, datumaro, voc, yolo
from curation.labeling.files.raw_boxes import FormatError, RawBox
from curation.labeling.files.rescaling import reference_size
from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box, Submission, build_submission
from curation.storage import conversions

Size = tuple[int, int]


def read_coco(
    text: str, *, origin: str, taxonomy: Taxonomy, sizes_wh: Mapping[str, Size]
) -> dict[str, Submission]:
    """Return the submissions of a COCO file, by image name without its folder.

    Args:
        text: Content of the file.
        origin: Path of the file, for errors.
        taxonomy: Classes of the dataset.
        sizes_wh: Width and height of the upright image, by image name.

    Raises:
        LabelingError: The text is not a COCO file, or lists an image twice.
    """
    with _translate_errors(origin, "COCO detection file", "images, annotations and categories"):
        content = coco.parse(text)
        if content.annotations is None or not isinstance(content.info, Mapping):
            raise FormatError("annotations or info are missing")
        unknown = content.annotations.keys() - {image["id"] for image in content.images}
        if unknown:
            raise FormatError(f"annotations of unknown image ids: {sorted(map(str, unknown))}")
    annotator = str(content.info.get("contributor") or "files")
    entries = []
    for image in content.images:
        name = _base_name(image["file_name"])
        raw = [
            coco.parse_box(annotation, content.labels)
            for annotation in content.annotations.get(image["id"], ())
        ]
        written = (image.get("width"), image.get("height"))
        boxes = _from_xywh(raw, written, sizes_wh.get(name), str(image["file_name"]))
        entries.append((name, build_submission(boxes, taxonomy=taxonomy, annotator=annotator)))
    return _refuse_repeats(entries, origin)


def read_datumaro(
    text: str, *, origin: str, taxonomy: Taxonomy, sizes_wh: Mapping[str, Size]
) -> dict[str, Submission]:
    """Return the submissions of a Datumaro file by item id; see `read_coco`."""
    with _translate_errors(origin, "Datumaro file", "categories.label.labels and items"):
        content = datumaro.parse(text)
    entries = []
    for item in content.items:
        name = _base_name(item["id"])
        boxes: list[Box | Doubt] = []
        if name in sizes_wh:
            raw = [datumaro.parse_box(row, content.labels) for row in item["annotations"]]
            boxes = _from_xywh(raw, datumaro.parse_size(item), sizes_wh[name], name)
        entries.append((name, build_submission(boxes, taxonomy=taxonomy)))
    return _refuse_repeats(entries, origin)


def read_yolo(text: str, *, classes: Sequence[str], taxonomy: Taxonomy) -> Submission:
    """Return the submission of one image's YOLO file.

    Args:
        text: Content of the file.
        classes: Class names by class number.
        taxonomy: Classes of the dataset.
    """
    boxes = [
        raw
        if isinstance(raw, Doubt)
        else _box(raw, conversions.cxcywh_to_xyxy(np.array(raw.numbers)))
        for raw in yolo.parse(text, classes).values()
    ]
    return build_submission(boxes, taxonomy=taxonomy)


def read_yolo_names(text: str, *, origin: str) -> list[str]:
    """Return the class names of a `data.yaml`, or of a `classes.txt` with one name per line.

    Raises:
        LabelingError: The text has no class names.
    """
    if origin.endswith(".txt"):
        return yolo.parse_name_list(text)
    try:
        return yolo.parse_names(text)
    except FormatError as error:
        raise LabelingError(
            f"{origin} does not name the classes: {error}. "
            "Expected `names:` with one name for each number from 0."
        ) from error


def read_voc(text: str, *, origin: str, taxonomy: Taxonomy, size_wh: Size | None) -> Submission:
    """Return the submission of one image's VOC file.

    Args:
        text: Content of the file.
        origin: Path of the file, for errors.
        taxonomy: Classes of the dataset.
        size_wh: Width and height of the upright image; None for an unknown image.

    Raises:
        LabelingError: The text is another kind of XML.
    """
    try:
        content = voc.parse(text)
    except FormatError as error:
        return build_submission(
            [Doubt(origin, f"Cannot read the file: {error}.")], taxonomy=taxonomy
        )
    if content.tag != "annotation":
        raise LabelingError(
            f"{origin} is not a VOC file: expected <annotation>, got <{content.tag}>."
        )
    width, height = (
        int(side) if side is not None and side.strip().isdecimal() else side
        for side in content.size_wh
    )
    size = reference_size((width, height), size_wh or (1, 1), name=origin)
    if isinstance(size, Doubt):
        return build_submission([size] if size_wh else [], taxonomy=taxonomy)
    boxes = [
        raw if isinstance(raw, Doubt) else _box(raw, _scaled(raw, size)) for raw in content.objects
    ]
    return build_submission(boxes, taxonomy=taxonomy)


@contextmanager
def _translate_errors(origin: str, kind: str, keys: str) -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise LabelingError(
            f"{origin} is not a {kind}: {error}. Expected an object with {keys}."
        ) from error


def _from_xywh(
    raw_boxes: Iterable[RawBox | Doubt],
    written_wh: tuple[Any, Any],
    size_wh: Size | None,
    name: str,
) -> list[Box | Doubt]:
    """Return relative boxes, or a single doubt if the image has another shape.

    Args:
        raw_boxes: Boxes as `x, y, width, height` in pixels.
        written_wh: Width and height as written in the file.
        size_wh: Width and height of the upright image; None for an unknown image.
        name: Name of the image, for the doubt.
    """
    size = reference_size(written_wh, size_wh or (1, 1), name=name)
    if isinstance(size, Doubt):
        return [size] if size_wh else []
    return [
        raw if isinstance(raw, Doubt) else _box(raw, conversions.xywh_to_xyxy(_scaled(raw, size)))
        for raw in raw_boxes
    ]


def _scaled(raw: RawBox, size_wh: Size) -> conversions.Boxes:
    return conversions.from_pixels(np.array(raw.numbers), (size_wh[1], size_wh[0]))


def _box(raw: RawBox, corners_xyxy: conversions.Boxes) -> Box:
    return Box(raw.label or "", *corners_xyxy[0].tolist())


def _base_name(written: Any) -> str:
    """Return a file's name without the folders that a tool added."""
    return PurePosixPath(str(written).replace("\\", "/")).name


def _refuse_repeats(
    entries: Iterable[tuple[str, Submission]], origin: str
) -> dict[str, Submission]:
    submissions: dict[str, Submission] = {}
    for name, submission in entries:
        if name in submissions:
            raise LabelingError(f"{origin} lists the image {name} twice. Keep one of the two.")
        submissions[name] = submission
    return submissions
