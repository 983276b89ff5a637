"""Boxes of a file as written, before labels and coordinates are interpreted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.labeling.protocol import Doubt

Numbers = tuple[float, float, float, float]


class FormatError(ValueError):
    """A text is not in the expected format."""


@dataclass(frozen=True)
class RawBox:
    """One box of a file.

    Attributes:
        label: Class name as written; None if missing.
        numbers: The four coordinates, in the order and unit of the format.
    """

    label: str | None
    numbers: Numbers


def parse_bbox(annotation: Mapping[str, Any], label: str) -> RawBox | Doubt:
    """Return the `bbox` of an annotation, `x, y, width, height` in pixels."""
    try:
        x, y, width, height = map(float, annotation["bbox"])
    except (KeyError, TypeError, ValueError):
        shown = repr(annotation.get("bbox"))[:60]
        return Doubt(label, f"bbox must be four numbers, got {shown}.")
    return RawBox(label, (x, y, width, height))
