"""Pascal VOC files: one XML per image, box corners in pixels.

Corners are 0-based with decimals, as current tools read and write them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from cascade.predictions import Detections
from curation.labeling.files.raw_boxes import FormatError, RawBox
from curation.labeling.protocol import Doubt
from curation.storage import conversions

_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocFile:
    """Content of a VOC file.

    Attributes:
        tag: Name of the root element.
        size_wh: Width and height of the image as written; None if missing.
        objects: The boxes, corners in pixels.
    """

    tag: str
    size_wh: tuple[str | None, str | None]
    objects: tuple[RawBox | Doubt, ...]


def dump(name: str, size_wh: tuple[int, int], boxes: Detections) -> str:
    """Return the XML of one image.

    Args:
        name: File name of the image.
        size_wh: Width and height of the upright image, in pixels.
        boxes: Boxes of the image.
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
        bndbox = ElementTree.SubElement(item, "bndbox")
        for tag, side in zip(_CORNERS, box, strict=True):
            _add(bndbox, tag, repr(side))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def dump_label_map(classes: Sequence[str]) -> str:
    """Return the text of the `labelmap.txt` in which CVAT and Datumaro list the classes."""
    rows = [f"{name}:::\n" for name in classes]
    return "".join(["# label:color_rgb:parts:actions\n", *rows])


def parse(text: str | bytes) -> VocFile:
    """Return the content of a VOC file.

    Raises:
        FormatError: The text is not XML, or declares a document type.
    """
    decoded = text if isinstance(text, str) else text.decode("latin-1")
    if "<!DOCTYPE" in decoded or "<!ENTITY" in decoded:  # entities could expand without end
        raise FormatError("a VOC file must not declare a document type")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities, checked above
    except ElementTree.ParseError as error:
        raise FormatError(f"not XML: {error}") from error
    return VocFile(
        tag=root.tag,
        size_wh=(root.findtext("size/width"), root.findtext("size/height")),
        objects=tuple(_parse_object(item) for item in root.iter("object")),
    )


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _parse_object(item: ElementTree.Element) -> RawBox | Doubt:
    name = item.findtext("name")
    label = None if name is None else name.strip()
    sides = [item.findtext(f"bndbox/{corner}") for corner in _CORNERS]
    try:
        x1, y1, x2, y2 = (float(side or "") for side in sides)
    except ValueError:
        return Doubt(label or "", f"bndbox must have four numbers, got {sides}.")
    return RawBox(label, (x1, y1, x2, y2))
