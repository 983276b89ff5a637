"""One image several times in one picture, with what each member saw on it.

Right boxes are green, wrong ones vermilion, missed objects sky blue and dashed: colours of
`figures`, which people of every colour vision tell apart.
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
_CAPTION_PX, _GAP_PX, _LETTERS_PX = 26, 8, 15
_QUALITY = 85
_PAPER, _INK = "#1E1F22", "#E8EAED"


def _none() -> Boxes:
    return np.zeros((0, 4))


@dataclass(frozen=True, eq=False)
class Tile:
    """One member's view of the image; boxes are relative corners, shape (N, 4).

    Attributes:
        name: The member.
        caption: What is written beside its name.
        right: Boxes that match an object.
        wrong: Boxes that match none.
        missed: Objects without a box.
    """

    name: str
    caption: str
    right: Boxes = field(default_factory=_none)
    wrong: Boxes = field(default_factory=_none)
    missed: Boxes = field(default_factory=_none)


def to_data_uri(path: str, tiles: Sequence[Tile], *, labeled: bool) -> str:
    """Return the picture as a JPEG in a `data:` address.

    Args:
        path: The image.
        tiles: Who saw what.
        labeled: Whether right and wrong are said by ground truth; else wrong boxes are orange.

    Raises:
        ImageError: The image cannot be read.
    """
    stream = io.BytesIO()
    draw(path, tiles, labeled=labeled).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def draw(path: str, tiles: Sequence[Tile], *, labeled: bool) -> Image.Image:
    """Return the picture: the tiles in rows, each with its caption above it."""
    small = Image.fromarray(batches.read(path))
    small = small.resize((TILE_PX, max(round(TILE_PX * small.height / small.width), 1)))
    columns = min(COLUMNS, max(len(tiles), 1))
    rows = -(-max(len(tiles), 1) // columns)
    width, height = small.width + _GAP_PX, small.height + _CAPTION_PX + _GAP_PX
    whole = Image.new("RGB", (columns * width - _GAP_PX, rows * height - _GAP_PX), _PAPER)
    for i, tile in enumerate(tiles):
        left, top = (i % columns) * width, (i // columns) * height
        _caption(whole, tile, left, top)
        whole.paste(_tile(small, tile, labeled=labeled), (left, top + _CAPTION_PX))
    return whole


def _tile(small: Image.Image, tile: Tile, *, labeled: bool) -> Image.Image:
    image = small.copy()
    pen = ImageDraw.Draw(image)
    wrong = VERMILION if labeled else ORANGE
    for boxes, colour in ((tile.right, GREEN), (tile.wrong, wrong)):
        for corners in _pixels(boxes, image):
            pen.rectangle(corners, outline=colour, width=3)
    for corners in _pixels(tile.missed, image):
        _dashed(pen, corners, SKY)
    return image


def _caption(whole: Image.Image, tile: Tile, left: int, top: int) -> None:
    pen = ImageDraw.Draw(whole)
    font = ImageFont.load_default(_LETTERS_PX)
    parts = [(f"{tile.name}: {tile.caption}", _INK)]
    if len(tile.missed):
        parts.append((f"{len(tile.missed)} missed", SKY))
    if len(tile.wrong):
        parts.append((f"{len(tile.wrong)} too much", VERMILION))
    x = float(left + 4)
    for text, colour in parts:
        pen.text((x, top + 4), text, fill=colour, font=font)
        x += pen.textlength(text, font=font) + 12


def _pixels(boxes: Boxes, image: Image.Image) -> list[tuple[float, float, float, float]]:
    scale = np.array([image.width, image.height] * 2)
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in (boxes * scale).tolist()]


def _dashed(
    pen: ImageDraw.ImageDraw, corners: tuple[float, float, float, float], colour: str, step: int = 7
) -> None:
    x1, y1, x2, y2 = corners
    for x in np.arange(x1, x2, 2 * step):
        for y in (y1, y2):
            pen.line((x, y, min(x + step, x2), y), fill=colour, width=2)
    for y in np.arange(y1, y2, 2 * step):
        for x in (x1, x2):
            pen.line((x, y, x, min(y + step, y2)), fill=colour, width=2)
