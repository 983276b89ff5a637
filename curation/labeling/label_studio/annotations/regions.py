"""What was drawn: from the results of a Label Studio annotation to places of the upright image.

A result is one region, or one answer about the image. Places are percents of the image that
the browser showed: Label Studio 1.23 takes an `<img>`'s natural size, so `original_width` and
`original_height` are those of the upright image, and percents are of it, whatever the EXIF
orientation. Turning the view (`image_rotation`) changes neither. Somebody who annotated by the
API from stored pixels gives the sizes the other way round where the orientation swaps them (5
to 8); with the orientation known, that is turned upright here, else it is a doubt. For 2, 3 and
4, and for square images, both look the same, and the browser's way is taken.
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

UPRIGHT = 1  # the EXIF orientation of an image that is stored as it is shown
_SHAPES = ("rectangle", "polygon", "brush", "keypoint")  # with or without "labels" behind it
_DRAWN = {"x", "points", "rle", "vertices", "imageDataURL", "maskDataURL"}  # says that it is one


@dataclass(frozen=True, eq=False)
class Region:
    """Something that was drawn.

    Attributes:
        kind: What it was drawn as.
        labels: What it is, as it was written; at least one.
        corners: Relative `x1, y1, x2, y2` of the upright image; of a point, the same twice.
        outline: Relative corners `(x, y)` of a polygon or of a rotated rectangle, else none.
        mask: Of the upright image, shape (H, W); None unless it was brushed.
    """

    kind: Kind
    labels: tuple[str, ...]
    corners: Corners
    outline: tuple[tuple[float, float], ...] = ()
    mask: NDArray[np.bool_] | None = None


def read(
    result: Iterable[Any], upright_size: tuple[int, int], orientation: int = UPRIGHT
) -> list[Region | Doubt]:
    """Return what was drawn, in order; what cannot be read is a doubt.

    Args:
        result: The regions and answers of one annotation.
        upright_size: Width and height of the upright image.
        orientation: Of the stored image, by its EXIF, from 1 to 8.
    """
    items = [one if isinstance(one, Mapping) else {} for one in result]
    labeled = {one.get("id") for one in items if _is_region(one) and _labels(one)}
    found: list[Region | Doubt] = []
    for one in items:
        if not _is_region(one):
            continue
        if not _labels(one) and one.get("id") in labeled:
            continue  # of <Rectangle> with <Labels>: the same region comes again, with its labels
        found.append(_region(one, upright_size, orientation))
    return found


def _is_region(item: Mapping[str, Any]) -> bool:
    """Return whether a result is drawn: an answer about the image or a relation is not.

    One that does not even say its type counts as drawn, so that it becomes a doubt.
    """
    kind = str(item.get("type") or "")
    return not kind or kind.endswith("labels") or bool(value_of(item).keys() & _DRAWN)


def value_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the value of a result; nothing where it has none."""
    value = item.get("value")
    return value if isinstance(value, Mapping) else {}


def _labels(item: Mapping[str, Any]) -> tuple[str, ...]:
    value = value_of(item)
    written = value.get(str(item.get("type"))) or value.get("labels")
    return tuple(map(str, written)) if isinstance(written, list | tuple) else ()


def _region(
    item: Mapping[str, Any], upright_size: tuple[int, int], orientation: int
) -> Region | Doubt:
    labels = _labels(item)
    what = ", ".join(labels) or f"{item.get('type') or 'a result'} {item.get('id', '')}".strip()
    if not labels:
        return Doubt(what=what, reason="The region has no label. Choose one, or remove it.")
    shape = _shape(item)
    if shape is None:
        reason = f"Regions of the type {item.get('type')!r} are not read. Draw a box instead."
        return Doubt(what=what, reason=reason)
    try:
        frame = _frame(item, upright_size, orientation)
        kind, points, mask = _drawn(shape, item["value"], frame.size_wh)
        if not points.size or not np.isfinite(points).all():
            raise LabelingError("The region has no place, or one that is no number.")
    except LabelingError as error:
        return Doubt(what=what, reason=str(error))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        return Doubt(what=what, reason=f"Not readable: {type(error).__name__}: {error}.")
    upright = exif.upright_points(points, frame.orientation)
    low, high = upright.min(axis=0).tolist(), upright.max(axis=0).tolist()
    return Region(
        kind=kind,
        labels=labels,
        corners=(low[0], low[1], high[0], high[1]),
        outline=_outline(kind, upright),
        mask=None if mask is None else exif.upright_mask(mask, frame.orientation),
    )


def _outline(kind: Kind, points: exif.Points) -> tuple[tuple[float, float], ...]:
    """Return the corners of a polygon; a straight rectangle, two corners, has none of its own."""
    if kind == "polygon" or (kind == "box" and len(points) > 2):
        return tuple((x, y) for x, y in points.tolist())
    return ()


def _shape(item: Mapping[str, Any]) -> str | None:
    """Return what was drawn, from the type, or from the value where the type is just "labels"."""
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


@dataclass(frozen=True)
class _Frame:
    """The image that percents are of.

    Attributes:
        size_wh: Its width and height, as the tool had it.
        orientation: What turns it upright.
    """

    size_wh: tuple[int, int]
    orientation: int


def _frame(item: Mapping[str, Any], upright_size: tuple[int, int], orientation: int) -> _Frame:
    if item.get("original_width") is None and item.get("original_height") is None:
        return _Frame(upright_size, UPRIGHT)
    width, height = int(item["original_width"]), int(item["original_height"])
    if _alike((width, height), upright_size):
        return _Frame((width, height), UPRIGHT)
    if _alike((height, width), upright_size) and exif.swaps_axes(orientation):
        return _Frame((width, height), orientation)
    raise LabelingError(
        f"It was drawn on an image of {width}x{height}, the upright image is "
        f"{upright_size[0]}x{upright_size[1]}. The image was cut, exchanged or not turned upright."
    )


def _alike(size: tuple[int, int], upright_size: tuple[int, int]) -> bool:
    """Return whether the image is the upright one, perhaps larger or smaller."""
    if min(size) <= 0:
        return False
    return abs(size[0] / upright_size[0] * upright_size[1] - size[1]) <= 1.0  # a pixel: rounding


def _drawn(
    shape: str, value: Mapping[str, Any], size_wh: tuple[int, int]
) -> tuple[Kind, exif.Points, NDArray[np.bool_] | None]:
    """Return the kind, the places that bound it, relative, shape (N, 2), and the mask."""
    if shape == "rectangle":
        return "box", _rectangle(value, size_wh), None
    if shape == "polygon":
        return "polygon", _relative([(x, y) for x, y in value["points"]]), None
    if shape == "keypoint":
        return "point", _relative([(value["x"], value["y"])]), None
    mask = rle.decode(value["rle"], size_wh)
    return "mask", _extent(mask), mask


def _rectangle(value: Mapping[str, Any], size_wh: tuple[int, int]) -> exif.Points:
    """Return two corners, or the four of a rectangle that was turned around its first corner."""
    percents = np.array([float(value[side]) for side in ("x", "y", "width", "height")])
    box = conversions.from_percent(percents)
    angle = math.radians(float(value.get("rotation") or 0.0) % 360.0)
    if not angle:
        return conversions.xywh_to_xyxy(box).reshape(2, 2)
    x, y, width, height = conversions.to_pixels(box, (size_wh[1], size_wh[0]))[
        0
    ]  # squares stay square
    along = width * np.array([math.cos(angle), math.sin(angle)])
    down = height * np.array([-math.sin(angle), math.cos(angle)])
    start = np.array([x, y])
    corners = np.array([start, start + along, start + along + down, start + down])
    return corners / np.array(size_wh, np.float64)


def _relative(percents: Sequence[tuple[Any, Any]]) -> exif.Points:
    rows = [(float(x), float(y)) * 2 for x, y in percents]
    return conversions.from_percent(np.array(rows, np.float64).reshape(-1, 4))[:, :2]


def _extent(mask: NDArray[np.bool_]) -> exif.Points:
    """Return the outer edges of the pixels of a mask; none where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return np.zeros((0, 2))
    pixels = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return conversions.from_pixels(pixels, (mask.shape[0], mask.shape[1])).reshape(2, 2)
