"""Pascal VOC files: one XML per image, with the corners of its boxes in pixels.

An XML without objects says "nothing there"; an image without an XML is not annotated. Corners
are 0-based and keep their decimals, as today's tools write and read them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.files.rescaling import measured_in
from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box, Submission, understand
from curation.storage import conversions

_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def dump(name: str, size_wh: tuple[int, int], boxes: Detections) -> str:
    """Return the XML of one image.

    Args:
        name: Its file name.
        size_wh: Width and height of the upright image, in pixels.
        boxes: What is in it.
    """
    width, height = size_wh
    root = ElementTree.Element("annotation")
    _add(root, "folder", "images")
    _add(root, "filename", name)
    size = ElementTree.SubElement(root, "size")
    for tag, number in (("width", width), ("height", height), ("depth", 3)):
        _add(size, tag, str(number))
    _add(root, "segmented", "0")
    corners = conversions.to_pixels(boxes.boxes_xyxy, (height, width)).tolist()
    for label, box in zip(boxes.labels, corners, strict=True):
        item = ElementTree.SubElement(root, "object")
        _add(item, "name", label)
        for tag, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
            _add(item, tag, text)
        place = ElementTree.SubElement(item, "bndbox")
        for tag, side in zip(_CORNERS, box, strict=True):
            _add(place, tag, repr(side))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def dump_classes(classes: Sequence[str]) -> str:
    """Return the text of the `labelmap.txt` by which CVAT and Datumaro know the classes."""
    rows = [f"{name}:::\n" for name in classes]
    return "".join(["# label:color_rgb:parts:actions\n", *rows])


def parse(
    text: str, *, origin: str, taxonomy: Taxonomy, size_wh: tuple[int, int] | None
) -> Submission:
    """Return what the returned XML of one image says.

    Args:
        text: The file.
        origin: Its name, for errors.
        taxonomy: What labels mean.
        size_wh: Width and height of the upright image; None for an image that nobody knows.

    Raises:
        LabelingError: The text is XML of another kind.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities could unfold for ever
        doubt = Doubt(what=origin, reason="It declares a document type, which no VOC file needs.")
        return understand([doubt], taxonomy=taxonomy)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities, checked above
    except ElementTree.ParseError as error:
        doubt = Doubt(what=origin, reason=f"It is no XML: {error}.")
        return understand([doubt], taxonomy=taxonomy)
    if root.tag != "annotation":
        raise LabelingError(f"{origin} is no VOC file: expected <annotation>, got <{root.tag}>.")
    size = measured_in(_size(root), size_wh or (1, 1), name=origin)
    if isinstance(size, Doubt):
        return understand([size] if size_wh else [], taxonomy=taxonomy)
    return understand([_box(item, size) for item in root.iter("object")], taxonomy=taxonomy)


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _size(root: ElementTree.Element) -> tuple[Any, Any]:
    """Return width and height as numbers where they are, else as they were written."""
    written = [root.findtext(f"size/{side}") for side in ("width", "height")]
    found = [int(one) if one is not None and one.strip().isdecimal() else one for one in written]
    return found[0], found[1]


def _box(item: ElementTree.Element, size_wh: tuple[int, int]) -> Box | Doubt:
    label = (item.findtext("name") or "").strip()
    written = [item.findtext(f"bndbox/{one}") for one in _CORNERS]
    try:
        pixels = np.array([float(one or "") for one in written])
    except ValueError:
        return Doubt(what=label, reason=f"bndbox must hold four numbers, got {written}.")
    relative = conversions.from_pixels(pixels, (size_wh[1], size_wh[0]))
    return Box(label, *relative[0].tolist())
