"""YOLO files: one text per image, one row per box: `class cx cy width height`, relative.

A text without rows says "nothing there"; an image without a text is not annotated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from cascade.predictions import Detections
from cascade.taxonomy import Taxonomy
from curation.errors import LabelingError
from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box, Submission, understand
from curation.storage import conversions

_COLUMNS = 5


def dump(boxes: Detections) -> str:
    """Return the text of one image; every digit is kept."""
    rows = []
    centred = conversions.xyxy_to_cxcywh(boxes.boxes_xyxy).tolist()
    for numbers, class_id in zip(centred, boxes.class_ids.tolist(), strict=True):
        rows.append(" ".join([str(class_id), *map(repr, numbers)]) + "\n")
    return "".join(rows)


def dump_classes(classes: Sequence[str]) -> str:
    """Return the text of the `data.yaml` that names the classes."""
    content = {"path": ".", "names": dict(enumerate(classes))}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def parse(text: str, *, classes: Sequence[str], taxonomy: Taxonomy) -> Submission:
    """Return what the returned text of one image says.

    Args:
        text: The rows; empty rows are passed over.
        classes: What the class numbers mean.
        taxonomy: What the class names mean.
    """
    drawn = [_box(row, classes) for row in text.splitlines() if row.strip()]
    return understand(drawn, taxonomy=taxonomy)


def parse_classes(text: str, *, origin: str) -> list[str]:
    """Return the class names of a `data.yaml`, or of a `classes.txt` with one name a line.

    Raises:
        LabelingError: The text names no classes.
    """
    if origin.endswith(".txt"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        names: Any = yaml.safe_load(text)["names"]
        if isinstance(names, Mapping):
            names = [names[i] for i in range(len(names))]
        return [str(name) for name in names]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise LabelingError(
            f"{origin} does not name the classes: {type(error).__name__}: {error}. "
            "Expected `names:` with one name for each number from 0."
        ) from error


def _box(row: str, classes: Sequence[str]) -> Box | Doubt:
    words = row.split()
    if len(words) != _COLUMNS:
        return Doubt(
            what=row.strip(),
            reason=f"A row has {_COLUMNS} numbers (class, center x and y, width, height), "
            f"got {len(words)}. Six are a prediction with its score, more are a polygon.",
        )
    try:
        class_id = int(words[0])
        centred = np.array([float(word) for word in words[1:]])
    except ValueError:
        return Doubt(what=row.strip(), reason="The row holds something that is no number.")
    if not 0 <= class_id < len(classes):
        return Doubt(
            what=row.strip(), reason=f"Classes count from 0 to {len(classes) - 1}, got {class_id}."
        )
    return Box(classes[class_id], *conversions.cxcywh_to_xyxy(centred)[0].tolist())
