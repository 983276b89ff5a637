"""Regions drawn in a Label Studio annotation, relative to the upright image.

A result is one region, or one answer about the image. Coordinates are percents of the image that
the browser showed: Label Studio 1.23 uses the natural size of an `<img>`. `original_width` and
`original_height` are therefore those of the upright image, and percents refer to it, for every
EXIF orientation. Rotating the view (`image_rotation`) changes neither.

Annotations created by the API from stored pixels have swapped sizes for orientations that swap the
axes (5 to 8); with a known orientation they are converted here, otherwise they are doubts. For
2, 3 and 4, and for square images, both cases look the same, and the browser's is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from curation.errors import LabelingError
from curation.labeling.label_studio.annotations import exif, rle
from curation.labeling.protocol import Doubt
from curation.storage import conversions

Kind = Literal["box", "polygon", "mask", "point"]
Corners = tuple[float, float, float, float]

UPRIGHT = 1  # EXIF orientation of an image that is stored upright
_SHAPES = ("rectangle", "polygon", "brush", "keypoint")  # may be followed by "labels"
_REGION_KEYS = {"x", "points", "rle", "vertices", "imageDataURL", "maskDataURL"}


@dataclass(frozen=True, eq=False)
class Region:
    """A drawn region.

    Attributes:
        kind: Kind of the shape.
        labels: Labels as written; at least one.
        corners: Relative `x1, y1, x2, y2` of the upright image; a point has zero size.
        outline: Relative corners `(x, y)` of a polygon or of a rotated rectangle; may be empty.
        mask: Mask of the upright image, shape (H, W); None unless drawn with a brush.
    """

    kind: Kind
    labels: tuple[str, ...]
    corners: Corners
    outline: tuple[tuple[float, float], ...] = ()
    mask: NDArray[np.bool_] | None = None


def read(
    result: Iterable[Any], upright_size: tuple[int, int], orientation: int = UPRIGHT
) -> list[Region | Doubt]:
    """Return the regions in order; an unreadable region is a doubt.

    Args:
        result: Regions and answers of one annotation.
        upright_size: Width and height of the upright image.
        orientation: EXIF orientation of the stored image, from 1 to 8.
    """
    items = [item if isinstance(item, Mapping) else {} for item in result]
    drawn = [item for item in items if _is_region(item)]
    labeled = {item.get("id") for item in drawn if _labels(item)}
    # With <Rectangle> and <Labels> a region occurs twice: without and with its labels.
    return [
        _region(item, upright_size, orientation)
        for item in drawn
        if _labels(item) or item.get("id") not in labeled
    ]


def _is_region(item: Mapping[str, Any]) -> bool:
    """Return whether a result is a region, rather than an answer or a relation.

    A result without a type counts as a region, and becomes a doubt.
    """
    kind = str(item.get("type") or "")
    return not kind or kind.endswith("labels") or bool(value_of(item).keys() & _REGION_KEYS)


def value_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the value of a result; empty if it has none."""
    value = item.get("value")
    return value if isinstance(value, Mapping) else {}


def _labels(item: Mapping[str, Any]) -> tuple[str, ...]:
    value = value_of(item)
    labels = value.get(str(item.get("type"))) or value.get("labels")
    return tuple(map(str, labels)) if isinstance(labels, list | tuple) else ()


def _region(
    item: Mapping[str, Any], upright_size: tuple[int, int], orientation: int
) -> Region | Doubt:
    labels = _labels(item)
    subject = ", ".join(labels) or f"{item.get('type') or 'a result'} {item.get('id', '')}".strip()
    if not labels:
        return Doubt(subject, "The region has no label. Choose one, or remove it.")
    shape = _shape(item)
    if shape is None:
        reason = f"Regions of the type {item.get('type')!r} are not supported. Draw a box instead."
        return Doubt(subject, reason)
    try:
        size_wh, orientation = _frame(item, upright_size, orientation)
        kind, points, mask = _geometry(shape, item["value"], size_wh)
        if not points.size or not np.isfinite(points).all():
            raise LabelingError("The region has no position, or one that is not a finite number.")
    except LabelingError as error:
        return Doubt(subject, str(error))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        return Doubt(subject, f"Cannot parse the region: {type(error).__name__}: {error}.")
    upright = exif.upright_points(points, orientation)
    low, high = upright.min(axis=0).tolist(), upright.max(axis=0).tolist()
    return Region(
        kind=kind,
        labels=labels,
        corners=(low[0], low[1], high[0], high[1]),
        outline=_outline(kind, upright),
        mask=None if mask is None else exif.upright_mask(mask, orientation),
    )


def _outline(kind: Kind, points: exif.Points) -> tuple[tuple[float, float], ...]:
    """Return the corners of a polygon or rotated rectangle; empty for an upright rectangle."""
    if kind == "polygon" or (kind == "box" and len(points) > 2):
        return tuple((x, y) for x, y in points.tolist())
    return ()


def _shape(item: Mapping[str, Any]) -> str | None:
    """Return the shape from the type, or from the value if the type is just "labels"."""
    kind = str(item.get("type", "")).removesuffix("labels")
    if kind in _SHAPES:
        return kind
    if kind:
        return None
    value = item["value"]
    if "points" in value:
        return "polygon"
    if "rle" in value:
        return "brush"
    return "rectangle" if {"x", "y", "width", "height"} <= value.keys() else None


def _frame(
    item: Mapping[str, Any], upright_size: tuple[int, int], orientation: int
) -> tuple[tuple[int, int], int]:
    """Return width and height of the image that percents refer to, and its orientation."""
    if item.get("original_width") is None and item.get("original_height") is None:
        return upright_size, UPRIGHT
    width, height = int(item["original_width"]), int(item["original_height"])
    if _is_scaled((width, height), upright_size):
        return (width, height), UPRIGHT
    if _is_scaled((height, width), upright_size) and exif.swaps_axes(orientation):
        return (width, height), orientation
    raise LabelingError(
        f"It was drawn on an image of {width}x{height}, the upright image is "
        f"{upright_size[0]}x{upright_size[1]}. The image was cropped, replaced or not rotated "
        "upright."
    )


def _is_scaled(size: tuple[int, int], upright_size: tuple[int, int]) -> bool:
    """Return whether a size is the upright one scaled, within a pixel of rounding."""
    if min(size) <= 0:
        return False
    return abs(size[0] / upright_size[0] * upright_size[1] - size[1]) <= 1.0


def _geometry(
    shape: str, value: Mapping[str, Any], size_wh: tuple[int, int]
) -> tuple[Kind, exif.Points, NDArray[np.bool_] | None]:
    """Return the kind, the relative points that bound it, shape (N, 2), and the mask."""
    if shape == "rectangle":
        return "box", _rectangle(value, size_wh), None
    if shape == "polygon":
        return "polygon", _relative([(x, y) for x, y in value["points"]]), None
    if shape == "keypoint":
        return "point", _relative([(value["x"], value["y"])]), None
    mask = rle.decode(value["rle"], size_wh)
    return "mask", _extent(mask), mask


def _rectangle(value: Mapping[str, Any], size_wh: tuple[int, int]) -> exif.Points:
    """Return two corners, or all four of a rectangle rotated around its first corner."""
    percents = np.array([float(value[side]) for side in ("x", "y", "width", "height")])
    box = conversions.from_percent(percents)
    angle = math.radians(float(value.get("rotation") or 0.0) % 360.0)
    if not angle:
        return conversions.xywh_to_xyxy(box).reshape(2, 2)
    # Rotate in pixels, where angles are preserved.
    x, y, width, height = conversions.to_pixels(box, (size_wh[1], size_wh[0]))[0]
    across = width * np.array([math.cos(angle), math.sin(angle)])
    down = height * np.array([-math.sin(angle), math.cos(angle)])
    start = np.array([x, y])
    corners = np.array([start, start + across, start + across + down, start + down])
    return corners / np.array(size_wh, np.float64)


def _relative(percents: Sequence[tuple[Any, Any]]) -> exif.Points:
    rows = [(float(x), float(y)) * 2 for x, y in percents]
    return conversions.from_percent(np.array(rows, np.float64).reshape(-1, 4))[:, :2]


def _extent(mask: NDArray[np.bool_]) -> exif.Points:
    """Return the corners around the pixels of a mask; none if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return np.zeros((0, 2))
    pixels = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return conversions.from_pixels(pixels, (mask.shape[0], mask.shape[1])).reshape(2, 2)
