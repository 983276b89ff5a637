"""The only crossing between conventions for boxes, and between our values and FiftyOne's.

| who                                  | convention                                             |
|--------------------------------------|--------------------------------------------------------|
| we, everywhere else                  | relative corners `x1, y1, x2, y2` in [0, 1]            |
| FiftyOne                             | relative `x, y, w, h`; x, y is the upper left corner   |
| YOLO files                           | relative `cx, cy, w, h`; cx, cy is the centre          |
| COCO files, VOC files and detectors  | pixels: `x, y, w, h`, and corners                      |
| Label Studio                         | percent `x, y, w, h`                                   |

All of them mean the upright image: EXIF orientation applied, origin at the upper left.
N is the number of boxes. Arithmetic is float64, so that there and back is exact to the bit for
relative corners in float32 (multiples of 2**-24: a ten-thousandth of a pixel).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.predictions import Detections

Boxes = NDArray[np.float64]


def xyxy_to_xywh(boxes_xyxy: FloatArray) -> Boxes:
    """Return upper left corner, width and height of corners, shape (N, 4), in their unit."""
    boxes = _rows(boxes_xyxy)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xywh_to_xyxy(boxes_xywh: FloatArray) -> Boxes:
    """Return the corners of boxes given by upper left corner, width and height."""
    boxes = _rows(boxes_xywh)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_cxcywh(boxes_xyxy: FloatArray) -> Boxes:
    """Return centre, width and height of corners, shape (N, 4), in their unit."""
    boxes = _rows(boxes_xyxy)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([centre, boxes[:, 2:] - boxes[:, :2]], axis=1)


def cxcywh_to_xyxy(boxes_cxcywh: FloatArray) -> Boxes:
    """Return the corners of boxes given by centre, width and height."""
    boxes = _rows(boxes_cxcywh)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def to_pixels(boxes: FloatArray, size_px: tuple[int, int]) -> Boxes:
    """Return relative boxes of any of the conventions in pixels of an image.

    Args:
        boxes: Shape (N, 4); x values in the even columns, y values in the odd ones.
        size_px: Height and width of the upright image.
    """
    return _rows(boxes) * _scale(size_px)


def from_pixels(boxes_px: FloatArray, size_px: tuple[int, int]) -> Boxes:
    """Return pixel boxes of any of the conventions as shares of the image's sides."""
    return _rows(boxes_px) / _scale(size_px)


def to_percent(boxes: FloatArray) -> Boxes:
    """Return relative boxes in percent of the image's sides."""
    return _rows(boxes) * 100.0


def from_percent(boxes_percent: FloatArray) -> Boxes:
    """Return boxes in percent of the image's sides as relative ones."""
    return _rows(boxes_percent) / 100.0


def inside(boxes_xyxy: FloatArray) -> Boxes:
    """Return relative corners with what lies outside of the image cut off."""
    return np.clip(_rows(boxes_xyxy), 0.0, 1.0)


def raw_detection(label: str, box_xywh: Sequence[float], **attributes: Any) -> dict[str, Any]:
    """Return one box as FiftyOne stores it.

    Args:
        label: The class.
        box_xywh: Relative; python floats, which is all that the database takes.
        attributes: `confidence` and declared ones; left out where None.
    """
    return {
        "_id": ObjectId(),
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": label,
        "bounding_box": list(box_xywh),
        **{name: value for name, value in attributes.items() if value is not None},
    }


def raw_detections(found: Detections, *, scored: bool) -> dict[str, Any]:
    """Return boxes as FiftyOne stores a label field; an empty one means "nothing there".

    Args:
        found: The boxes, in the classes that are to be shown.
        scored: Whether the scores are stored as confidences; ground truth has none.
    """
    boxes = xyxy_to_xywh(inside(found.boxes_xyxy)).tolist()
    scores = found.scores.astype(float).tolist() if scored else [None] * len(found)
    return {
        "_cls": "Detections",
        "detections": [
            raw_detection(label, box, confidence=score)
            for label, box, score in zip(found.labels, boxes, scores, strict=True)
        ],
    }


def from_raw(
    field: Mapping[str, Any],
    classes: Sequence[str],
    meaning: Mapping[str, str | None],
    *,
    score: str = "confidence",
) -> tuple[Detections, Counter[str]]:
    """Return the boxes of a stored label field, and how many had a label that means no class.

    Args:
        field: The raw document.
        classes: The canonical names.
        meaning: The class that each stored label means, or None.
        score: The attribute that becomes the score; a box without it gets 1.
    """
    column = {name: i for i, name in enumerate(classes)}
    stored = field.get("detections") or []
    known = [one for one in stored if meaning[one["label"]] in column]
    dropped = Counter(one["label"] for one in stored if meaning[one["label"]] not in column)
    boxes = np.array([one["bounding_box"] for one in known], np.float64).reshape(-1, 4)
    scores = [1.0 if one.get(score) is None else one[score] for one in known]
    detections = Detections(
        boxes_xyxy=inside(xywh_to_xyxy(boxes)).astype(np.float32),
        scores=np.array(scores, np.float32),
        class_ids=np.array([column[str(meaning[one["label"]])] for one in known], np.int64),
        classes=tuple(classes),
    )
    return detections, dropped


def to_label(found: Detections, *, scored: bool = True) -> Any:
    """Return boxes as a FiftyOne `Detections` label."""
    import fiftyone as fo

    return fo.Detections.from_dict(raw_detections(found, scored=scored))


def from_label(label: Any, classes: Sequence[str]) -> Detections:
    """Return the boxes of a FiftyOne `Detections` label whose label is one of `classes`."""
    known = set(classes)
    labels = {one.label for one in label.detections}
    meaning = {name: name if name in known else None for name in labels}
    return from_raw(label.to_dict(), classes, meaning)[0]


def _rows(boxes: FloatArray) -> Boxes:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _scale(size_px: tuple[int, int]) -> Boxes:
    height, width = size_px
    return np.array([width, height, width, height], np.float64)
