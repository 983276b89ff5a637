"""Conversion between box conventions, and between our values and FiftyOne's.

| used by                              | convention                                             |
|--------------------------------------|--------------------------------------------------------|
| our own code                         | relative corners `x1, y1, x2, y2` in [0, 1]            |
| FiftyOne                             | relative `x, y, w, h`; x, y is the upper left corner   |
| YOLO files                           | relative `cx, cy, w, h`; cx, cy is the center          |
| COCO files, VOC files and detectors  | pixels: `x, y, w, h`, and corners                      |
| Label Studio                         | percent `x, y, w, h`                                   |

All of them refer to the upright image: EXIF orientation applied, origin at the upper left.
N is the number of boxes. Arithmetic is in float64, so a round trip is exact to the bit for
relative corners in float32 (multiples of 2**-24: a ten-thousandth of a pixel).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from cascade.arrays import FloatArray
from cascade.predictions import Detections

if TYPE_CHECKING:
    import fiftyone as fo

Boxes = NDArray[np.float64]


def xyxy_to_xywh(boxes_xyxy: FloatArray) -> Boxes:
    """Return upper left corner, width and height of corners, shape (N, 4), in their unit."""
    boxes = _rows(boxes_xyxy)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def xywh_to_xyxy(boxes_xywh: FloatArray) -> Boxes:
    """Return the corners of boxes with upper left corner, width and height, shape (N, 4)."""
    boxes = _rows(boxes_xywh)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_cxcywh(boxes_xyxy: FloatArray) -> Boxes:
    """Return center, width and height of corners, shape (N, 4), in their unit."""
    boxes = _rows(boxes_xyxy)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([center, boxes[:, 2:] - boxes[:, :2]], axis=1)


def cxcywh_to_xyxy(boxes_cxcywh: FloatArray) -> Boxes:
    """Return the corners of boxes with center, width and height, shape (N, 4)."""
    boxes = _rows(boxes_cxcywh)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def to_pixels(boxes: FloatArray, size_px: tuple[int, int]) -> Boxes:
    """Return relative boxes in pixels, in the same convention.

    Args:
        boxes: Shape (N, 4); x values in the even columns, y values in the odd ones.
        size_px: Height and width of the upright image.
    """
    return _rows(boxes) * _scale(size_px)


def from_pixels(boxes_px: FloatArray, size_px: tuple[int, int]) -> Boxes:
    """Return pixel boxes relative to the image, in the same convention."""
    return _rows(boxes_px) / _scale(size_px)


def to_percent(boxes: FloatArray) -> Boxes:
    """Return relative boxes in percent of the image."""
    return _rows(boxes) * 100.0


def from_percent(boxes_percent: FloatArray) -> Boxes:
    """Return boxes in percent of the image as relative boxes."""
    return _rows(boxes_percent) / 100.0


def inside(boxes_xyxy: FloatArray) -> Boxes:
    """Return relative corners, clipped to the image."""
    return np.clip(_rows(boxes_xyxy), 0.0, 1.0)


def raw_detection(label: str, box_xywh: Sequence[float], **attributes: Any) -> dict[str, Any]:
    """Return the raw document of a FiftyOne `Detection`.

    Args:
        label: The class.
        box_xywh: Relative upper left corner and size, Python floats.
        attributes: `confidence` and declared attributes; None values are left out.
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


def raw_detections(detections: Detections, *, scored: bool) -> dict[str, Any]:
    """Return the raw document of a FiftyOne `Detections`; without boxes, it says "no objects".

    Args:
        detections: Boxes, in the classes to store.
        scored: Store the scores as confidences; ground truth has none.
    """
    boxes = xyxy_to_xywh(inside(detections.boxes_xyxy)).tolist()
    scores = detections.scores.astype(float).tolist() if scored else [None] * len(detections)
    return {
        "_cls": "Detections",
        "detections": [
            raw_detection(label, box, confidence=score)
            for label, box, score in zip(detections.labels, boxes, scores, strict=True)
        ],
    }


def from_raw(
    field: Mapping[str, Any],
    classes: Sequence[str],
    meaning: Mapping[str, str | None],
    *,
    score: str = "confidence",
) -> tuple[Detections, Counter[str]]:
    """Return the boxes of a stored label field, and the number of dropped boxes by label.

    Args:
        field: The raw document.
        classes: Canonical class names.
        meaning: Class of each stored label; boxes of other labels, or None, are dropped.
        score: Attribute that becomes the score; 1 for a box without it.
    """
    column = {name: i for i, name in enumerate(classes)}
    stored = field.get("detections") or []
    rows = [box for box in stored if meaning[box["label"]] in column]
    dropped = Counter(box["label"] for box in stored if meaning[box["label"]] not in column)
    boxes = np.array([box["bounding_box"] for box in rows], np.float64).reshape(-1, 4)
    scores = [1.0 if box.get(score) is None else box[score] for box in rows]
    detections = Detections(
        boxes_xyxy=inside(xywh_to_xyxy(boxes)).astype(np.float32),
        scores=np.array(scores, np.float32),
        class_ids=np.array([column[str(meaning[box["label"]])] for box in rows], np.int64),
        classes=tuple(classes),
    )
    return detections, dropped


def to_label(detections: Detections, *, scored: bool = True) -> fo.Detections:
    """Return boxes as a FiftyOne `Detections` label."""
    import fiftyone as fo

    return fo.Detections.from_dict(raw_detections(detections, scored=scored))


def _rows(boxes: FloatArray) -> Boxes:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _scale(size_px: tuple[int, int]) -> Boxes:
    height, width = size_px
    return np.array([width, height, width, height], np.float64)
