"""One image as a grid of tiles, each with the boxes of one member.

True positives are green, false positives vermilion, missed objects sky blue and dashed: the
report's colors, which are safe for color-blind readers.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cascade.imaging import batches
from curation.report.figures import GREEN, ORANGE, SKY, VERMILION

Boxes = NDArray[np.floating[Any]]

TILE_PX = 420
COLUMNS = 2
_CAPTION_PX, _GAP_PX, _FONT_PX = 26, 8, 15
_DASH_PX = 7
_JPEG_QUALITY = 85
_BACKGROUND, _TEXT = "#1E1F22", "#E8EAED"


def _no_boxes() -> Boxes:
    return np.zeros((0, 4))


@dataclass(frozen=True, eq=False)
class Tile:
    """One member's boxes on the image, as relative corners, shape (N, 4).

    Attributes:
        name: The member.
        caption: Text after its name.
        right: Boxes that match an object.
        wrong: Boxes that match none.
        missed: Objects without a box.
    """

    name: str
    caption: str
    right: Boxes = field(default_factory=_no_boxes)
    wrong: Boxes = field(default_factory=_no_boxes)
    missed: Boxes = field(default_factory=_no_boxes)


def to_data_uri(path: str, tiles: Sequence[Tile], *, labeled: bool) -> str:
    """Return the picture as a JPEG in a `data:` URI.

    Args:
        path: The image.
        tiles: The members' boxes.
        labeled: Whether the boxes were compared with ground truth; else wrong boxes are orange.

    Raises:
        ImageError: The image cannot be read.
    """
    stream = io.BytesIO()
    draw(path, tiles, labeled=labeled).save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def draw(path: str, tiles: Sequence[Tile], *, labeled: bool) -> Image.Image:
    """Return the picture: tiles in rows, each below its caption."""
    image = Image.fromarray(batches.read(path))
    image = image.resize((TILE_PX, max(round(TILE_PX * image.height / image.width), 1)))
    n_columns = min(COLUMNS, max(len(tiles), 1))
    n_rows = -(-max(len(tiles), 1) // n_columns)
    width, height = image.width + _GAP_PX, image.height + _CAPTION_PX + _GAP_PX
    size = (n_columns * width - _GAP_PX, n_rows * height - _GAP_PX)
    picture = Image.new("RGB", size, _BACKGROUND)
    for i, tile in enumerate(tiles):
        left, top = (i % n_columns) * width, (i // n_columns) * height
        _draw_caption(picture, tile, left, top)
        picture.paste(_draw_tile(image, tile, labeled=labeled), (left, top + _CAPTION_PX))
    return picture


def _draw_tile(image: Image.Image, tile: Tile, *, labeled: bool) -> Image.Image:
    image = image.copy()
    canvas = ImageDraw.Draw(image)
    wrong = VERMILION if labeled else ORANGE
    for boxes, color in ((tile.right, GREEN), (tile.wrong, wrong)):
        for corners in _to_pixels(boxes, image):
            canvas.rectangle(corners, outline=color, width=3)
    for corners in _to_pixels(tile.missed, image):
        _draw_dashed(canvas, corners, SKY)
    return image


def _draw_caption(picture: Image.Image, tile: Tile, left: int, top: int) -> None:
    canvas = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_FONT_PX)
    parts = [(f"{tile.name}: {tile.caption}", _TEXT)]
    if len(tile.missed):
        parts.append((f"{len(tile.missed)} missed", SKY))
    if len(tile.wrong):
        parts.append((f"{len(tile.wrong)} false", VERMILION))
    x = float(left + 4)
    for text, color in parts:
        canvas.text((x, top + 4), text, fill=color, font=font)
        x += canvas.textlength(text, font=font) + 12


def _to_pixels(boxes: Boxes, image: Image.Image) -> list[tuple[float, float, float, float]]:
    scale = np.array([image.width, image.height] * 2)
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in (boxes * scale).tolist()]


def _draw_dashed(
    canvas: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], color: str
) -> None:
    x1, y1, x2, y2 = corners
    for x in np.arange(x1, x2, 2 * _DASH_PX):
        for y in (y1, y2):
            canvas.line((x, y, min(x + _DASH_PX, x2), y), fill=color, width=2)
    for y in np.arange(y1, y2, 2 * _DASH_PX):
        for x in (x1, x2):
            canvas.line((x, y, x, min(y + _DASH_PX, y2)), fill=color, width=2)
