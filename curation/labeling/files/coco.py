"""COCO detection files: one JSON for many images, boxes as `[x, y, width, height]` in pixels.

An image that a returned file lists under `images` is done; without annotations, it shows
nothing. An image that no returned file lists is not annotated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.files.rescaling import base_name, box_in, measured_in
from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box, Submission, understand
from curation.storage import conversions


def dump(
    images: Sequence[tuple[str, int, int, Detections]], *, classes: Sequence[str], description: str
) -> str:
    """Return the text of a COCO file.

    Args:
        images: File name, width and height in pixels, and boxes, of each image.
        classes: The class names that a labeling tool is to offer.
        description: What the file is.
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
        "annotations": [{"id": i, **one} for i, one in enumerate(annotations, start=1)],
        "categories": [{"id": i, "name": name} for name, i in category.items()],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)


def parse(
    text: str, *, origin: str, taxonomy: Taxonomy, sizes_wh: Mapping[str, tuple[int, int]]
) -> dict[str, Submission]:
    """Return what a returned file says, by image name without its folder.

    Args:
        text: The file.
        origin: Its name, for errors.
        taxonomy: What labels mean.
        sizes_wh: Width and height of the upright image of each known name.

    Raises:
        LabelingError: The text is no COCO file, or names one image twice.
    """
    try:
        content = json.loads(text)
        labels = {one["id"]: str(one["name"]) for one in content["categories"]}
        annotator = str(content.get("info", {}).get("contributor") or "files")
        rows: dict[Any, list[Any]] = {image["id"]: [] for image in content["images"]}
        for one in content["annotations"]:
            rows[one["image_id"]].append(one)
        named = [(base_name(str(image["file_name"])), image) for image in content["images"]]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise LabelingError(
            f"{origin} is no COCO detection file: {type(error).__name__}: {error}. "
            "Expected an object with images, annotations and categories."
        ) from error
    submissions: dict[str, Submission] = {}
    for name, image in named:
        if name in submissions:
            raise LabelingError(f"{origin} lists the image {name} twice. Keep one of the two.")
        drawn = _drawn(image, rows[image["id"]], labels, sizes_wh.get(name))
        submissions[name] = understand(drawn, taxonomy=taxonomy, annotator=annotator)
    return submissions


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


def _drawn(
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    labels: Mapping[Any, str],
    size_wh: tuple[int, int] | None,
) -> list[Box | Doubt]:
    size = measured_in(
        (image.get("width"), image.get("height")),
        size_wh or (1, 1),  # of a stranger only the name is used
        name=str(image["file_name"]),
    )
    if isinstance(size, Doubt):
        return [size] if size_wh else []
    return [_box(one, labels, size) for one in annotations]


def _box(
    annotation: Mapping[str, Any], labels: Mapping[Any, str], size_wh: tuple[int, int]
) -> Box | Doubt:
    written = annotation.get("category_id")
    label = labels.get(written)
    if label is None:
        return Doubt(what=f"category {written}", reason="The file does not name this category.")
    return box_in(size_wh, label, annotation)
