"""YOLO files: one text per image with a row `class cx cy width height` per box, all relative.

An empty text means "nothing there".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cascade.predictions import Detections
from curation.labeling.files.raw_boxes import FormatError, RawBox
from curation.labeling.protocol import Doubt
from curation.storage import conversions

_COLUMNS = 5


def dump(boxes: Detections) -> str:
    """Return the text of one image, with full precision."""
    rows = []
    centers = conversions.xyxy_to_cxcywh(boxes.boxes_xyxy).tolist()
    for numbers, class_id in zip(centers, boxes.class_ids.tolist(), strict=True):
        rows.append(" ".join([str(class_id), *map(repr, numbers)]) + "\n")
    return "".join(rows)


def dump_names(classes: Sequence[str]) -> str:
    """Return the text of a `data.yaml` with the class names."""
    content = {"path": ".", "names": dict(enumerate(classes))}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def parse(
    text: str, classes: Sequence[str], *, fractional_classes: bool = False
) -> dict[int, RawBox | Doubt]:
    """Return the box of each row by row number, counted from 1 with empty rows skipped.

    Args:
        text: Content of the file.
        classes: Class names by class number.
        fractional_classes: Accept class numbers such as `1.0`.
    """
    return {
        number: _parse_row(row, classes, float if fractional_classes else int)
        for number, row in enumerate(text.splitlines(), start=1)
        if row.strip()
    }


def parse_names(text: str, *, any_keys: bool = False) -> list[str]:
    """Return the class names of a `data.yaml`.

    Args:
        text: Content of the file.
        any_keys: Accept a mapping whose keys are not the numbers from 0, and sort by key.

    Raises:
        FormatError: The text has no class names.
    """
    try:
        names: Any = yaml.safe_load(text)["names"]
        if isinstance(names, Mapping):
            keys = sorted(names, key=int) if any_keys else range(len(names))
            names = [names[key] for key in keys]
        return [str(name) for name in names]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{type(error).__name__}: {error}") from error


def parse_name_list(text: str) -> list[str]:
    """Return the class names of a `classes.txt`, one per line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _parse_row(
    row: str, classes: Sequence[str], parse_class: type[int] | type[float]
) -> RawBox | Doubt:
    words = row.split()
    if len(words) != _COLUMNS:
        reason = (
            f"A row must have {_COLUMNS} numbers (class, center x and y, width, height), got "
            f"{len(words)}. Rows of 6 are predictions with a score, longer ones are polygons."
        )
        return Doubt(row.strip(), reason)
    try:
        class_id = parse_class(words[0])
        cx, cy, width, height = map(float, words[1:])
    except ValueError:
        return Doubt(row.strip(), f"Every value must be a number, got {row.strip()[:60]!r}.")
    if not math.isfinite(class_id) or class_id != int(class_id):
        return Doubt(row.strip(), f"The class must be an integer, got {words[0]}.")
    if not 0 <= class_id < len(classes):
        reason = f"The class must be in 0 to {len(classes) - 1}, got {int(class_id)}."
        return Doubt(row.strip(), reason)
    return RawBox(classes[int(class_id)], (cx, cy, width, height))
