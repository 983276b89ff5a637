"""Datumaro files: one JSON for many images, boxes `[x, y, width, height]` in pixels.

The id of an item is the image's file name without its extension.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cascade.predictions import Detections
from curation.labeling.files.raw_boxes import FormatError, RawBox, parse_bbox
from curation.labeling.protocol import Doubt
from curation.storage import conversions

_VERSION = "1.0"
_IMAGE = 2  # Datumaro's number for the media type


@dataclass(frozen=True)
class DatumaroFile:
    """Content of a Datumaro file.

    Attributes:
        labels: Class names by label id.
        items: Item entries; each has `id` and a list `annotations`.
    """

    labels: Sequence[str]
    items: Sequence[Mapping[str, Any]]


def dump(images: Sequence[tuple[str, int, int, Detections]], *, classes: Sequence[str]) -> str:
    """Return the text of a Datumaro file.

    Args:
        images: File name, width and height in pixels, and boxes, of each image.
        classes: Class names that a labeling tool should offer.
    """
    number = {name: i for i, name in enumerate(classes)}
    content = {
        "dm_format_version": _VERSION,
        "media_type": _IMAGE,
        "infos": {},
        "categories": {
            "label": {
                "labels": [{"name": name, "parent": "", "attributes": []} for name in classes],
                "attributes": [],
            }
        },
        "items": [
            {
                "id": PurePosixPath(name).stem,
                "annotations": _annotations(boxes, (height, width), number),
                "attr": {},
                "image": {"path": name, "size": [height, width]},
            }
            for name, width, height, boxes in images
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def parse(text: str) -> DatumaroFile:
    """Return the content of a Datumaro file.

    Raises:
        FormatError: The text is not a Datumaro file.
    """
    try:
        content = json.loads(text)
        labels = [str(label["name"]) for label in content["categories"]["label"]["labels"]]
        items = [
            {**item, "id": item["id"], "annotations": list(item["annotations"])}
            for item in content["items"]
        ]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{type(error).__name__}: {error}") from error
    return DatumaroFile(labels, items)


def parse_size(item: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return width and height as written in an item; None for both if missing."""
    size = (item.get("image") or item.get("media") or {}).get("size")
    if size is None:
        return None, None
    return (size[1], size[0]) if isinstance(size, list) and len(size) == 2 else (0, 0)


def parse_box(annotation: Any, labels: Sequence[str]) -> RawBox | Doubt:
    """Return the box of an annotation, `x, y, width, height` in pixels."""
    kind = annotation.get("type") if isinstance(annotation, Mapping) else None
    if kind != "bbox":
        return Doubt(str(kind), f"Only boxes are imported, got {kind!r}.")
    number = annotation.get("label_id")
    if not isinstance(number, int) or not 0 <= number < len(labels):
        return Doubt(f"label {number}", f"The file does not define label {number}.")
    return parse_bbox(annotation, labels[number])


def _annotations(
    boxes: Detections, size_px: tuple[int, int], number: Mapping[str, int]
) -> list[dict[str, Any]]:
    pixels = conversions.to_pixels(conversions.xyxy_to_xywh(boxes.boxes_xyxy), size_px).tolist()
    rows = zip(boxes.labels, pixels, boxes.scores.astype(float).tolist(), strict=True)
    return [
        {
            "id": i,
            "type": "bbox",
            "attributes": {"score": score},
            "group": 0,
            "label_id": number[label],
            "z_order": 0,
            "bbox": box,
        }
        for i, (label, box, score) in enumerate(rows)
    ]
