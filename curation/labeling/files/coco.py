"""COCO detection files: one JSON for many images, boxes `[x, y, width, height]` in pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cascade.predictions import Detections
from curation.labeling.files.raw_boxes import FormatError, RawBox, parse_bbox
from curation.labeling.protocol import Doubt
from curation.storage import conversions

Json = Mapping[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """Content of a COCO file.

    Attributes:
        images: Image entries; each has `id` and `file_name`.
        labels: Category name by category id.
        annotations: Annotation entries by image id; None if the file has no annotations key.
        info: The `info` entry.
    """

    images: Sequence[Json]
    labels: Mapping[Any, str]
    annotations: Mapping[Any, Sequence[Json]] | None
    info: Any


def dump(
    images: Sequence[tuple[str, int, int, Detections]], *, classes: Sequence[str], description: str
) -> str:
    """Return the text of a COCO file.

    Args:
        images: File name, width and height in pixels, and boxes, of each image.
        classes: Class names that a labeling tool should offer.
        description: Description of the file.
    """
    category = {name: i + 1 for i, name in enumerate(classes)}  # COCO counts from 1
    annotations = [
        _annotation(image_id, width, height, boxes, i, category)
        for image_id, (_, width, height, boxes) in enumerate(images, start=1)
        for i in range(len(boxes))
    ]
    content = {
        "info": {"description": description},
        "images": [
            {"id": i, "file_name": name, "width": width, "height": height}
            for i, (name, width, height, _) in enumerate(images, start=1)
        ],
        "annotations": [
            {"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)
        ],
        "categories": [{"id": i, "name": name} for name, i in category.items()],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def parse(text: str | bytes) -> CocoFile:
    """Return the content of a COCO file.

    Raises:
        FormatError: The text is not a COCO file.
    """
    try:
        content = json.loads(text)
        images = list(content["images"])
        if not all({"id", "file_name"} <= image.keys() for image in images):
            raise ValueError("every image must have an id and a file_name")
        labels = {category["id"]: str(category["name"]) for category in content["categories"]}
        annotations: dict[Any, list[Json]] = {}
        for annotation in content.get("annotations") or ():
            annotations.setdefault(annotation.get("image_id"), []).append(annotation)
        labeled = content.get("annotations") is not None
        return CocoFile(images, labels, annotations if labeled else None, content.get("info", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{type(error).__name__}: {error}") from error


def parse_box(annotation: Json, labels: Mapping[Any, str]) -> RawBox | Doubt:
    """Return the box of an annotation, `x, y, width, height` in pixels.

    Args:
        annotation: Annotation entry.
        labels: Category name by category id.
    """
    category = annotation.get("category_id")
    label = labels.get(category)
    if label is None:
        return Doubt(f"category {category}", f"The file does not define category {category}.")
    return parse_bbox(annotation, label)


def _annotation(
    image_id: int, width: int, height: int, boxes: Detections, i: int, category: Mapping[str, int]
) -> dict[str, Any]:
    relative = conversions.xyxy_to_xywh(boxes.boxes_xyxy[i : i + 1])
    box = conversions.to_pixels(relative, (height, width))[0].tolist()
    return {
        "image_id": image_id,
        "category_id": category[boxes.classes[int(boxes.class_ids[i])]],
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
        "score": float(boxes.scores[i]),
    }
