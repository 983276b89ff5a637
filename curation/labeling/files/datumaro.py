"""Datumaro files: one JSON for many images, boxes as `[x, y, width, height]` in pixels.

Its items are known by the image's name without its ending. An item that a returned file lists
is done; without annotations, it shows nothing. An image without an item is not annotated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.files.rescaling import base_name, box_in, measured_in
from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box, Submission, understand
from curation.storage import conversions

_VERSION = "1.0"
_IMAGE = 2  # Datumaro's number for the kind of media


def dump(images: Sequence[tuple[str, int, int, Detections]], *, classes: Sequence[str]) -> str:
    """Return the text of a Datumaro file.

    Args:
        images: File name, width and height in pixels, and boxes, of each image.
        classes: The class names that a labeling tool is to offer.
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


def parse(
    text: str, *, origin: str, taxonomy: Taxonomy, sizes_wh: Mapping[str, tuple[int, int]]
) -> dict[str, Submission]:
    """Return what a returned file says, by item: the image's name without folder and ending.

    Args:
        text: The file.
        origin: Its name, for errors.
        taxonomy: What labels mean.
        sizes_wh: Width and height of the upright image of each known item.

    Raises:
        LabelingError: The text is no Datumaro file, or names one image twice.
    """
    try:
        content = json.loads(text)
        labels = [str(one["name"]) for one in content["categories"]["label"]["labels"]]
        items = [
            (base_name(str(one["id"])), one, list(one["annotations"])) for one in content["items"]
        ]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise LabelingError(
            f"{origin} is no Datumaro file: {type(error).__name__}: {error}. "
            "Expected an object with categories.label.labels and items."
        ) from error
    submissions: dict[str, Submission] = {}
    for name, item, drawn in items:
        if name in submissions:
            raise LabelingError(f"{origin} lists the image {name} twice. Keep one of the two.")
        found = _found(item, drawn, labels, sizes_wh.get(name), name)
        submissions[name] = understand(found, taxonomy=taxonomy)
    return submissions


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


def _found(
    item: Mapping[str, Any],
    drawn: Sequence[Any],
    labels: Sequence[str],
    size_wh: tuple[int, int] | None,
    name: str,
) -> list[Box | Doubt]:
    if size_wh is None:
        return []  # of a stranger only the name is used
    size = measured_in(_size(item), size_wh, name=name)
    return [size] if isinstance(size, Doubt) else [_box(one, labels, size) for one in drawn]


def _size(item: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return width and height as the item says; None for both where it does not."""
    written = (item.get("image") or item.get("media") or {}).get("size")
    if written is None:
        return None, None
    return (written[1], written[0]) if isinstance(written, list) and len(written) == 2 else (0, 0)


def _box(annotation: Any, labels: Sequence[str], size_wh: tuple[int, int]) -> Box | Doubt:
    kind = annotation.get("type") if isinstance(annotation, Mapping) else None
    if kind != "bbox":
        return Doubt(what=str(kind), reason=f"Only boxes are taken over, got {kind!r}.")
    number = annotation.get("label_id")
    if not isinstance(number, int) or not 0 <= number < len(labels):
        return Doubt(what=f"label {number}", reason="The file does not name this label.")
    return box_in(size_wh, labels[number], annotation)
