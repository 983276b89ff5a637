"""Thumbnails with boxes, encoded as data URIs."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw, ImageOps

from cascade.errors import ImageError
from cascade.imaging import batches
from cascade.predictions import Detections
from curation.report.figures import BLUE, ORANGE
from curation.report.page import Picture

TRUTH_COLOR, CONSENSUS_COLOR = BLUE, ORANGE
MIN_DRAWN_PROBABILITY = 0.25  # fused boxes below would clutter the picture
WIDTH_PX, HEIGHT_PX = 320, 240
_QUALITY = 82
_INK, _PAPER = "#202124", "#F1F3F4"


def to_data_uri(picture: Picture) -> str:
    """Return the picture as a JPEG data URI, or a gray placeholder if it cannot be read."""
    stream = io.BytesIO()
    draw(picture).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def draw(picture: Picture) -> Image.Image:
    """Return a small upright image with ground truth in blue and the consensus in orange."""
    try:
        small = _read(picture.filepath)
    except ImageError:
        return _placeholder("Cannot read this image.")
    if picture.truth is not None:
        _boxes(small, picture.truth, TRUTH_COLOR, width=4)
    confident = picture.consensus[picture.consensus.scores >= MIN_DRAWN_PROBABILITY]
    _boxes(small, confident, CONSENSUS_COLOR, width=2)
    return small


def _read(path: str) -> Image.Image:
    upright = Image.fromarray(batches.read(path))
    upright.thumbnail((WIDTH_PX, HEIGHT_PX), Image.Resampling.LANCZOS)
    if upright.width < WIDTH_PX / 2 and upright.height < HEIGHT_PX / 2:
        upright = ImageOps.contain(upright, (WIDTH_PX, HEIGHT_PX))
    return upright


def _boxes(image: Image.Image, detections: Detections, color: str, *, width: int) -> None:
    pen = ImageDraw.Draw(image)
    for x1, y1, x2, y2 in detections.boxes_xyxy.tolist():
        corners = (x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height)
        pen.rectangle(corners, outline=color, width=width)


def _placeholder(reason: str) -> Image.Image:
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), _PAPER)
    ImageDraw.Draw(image).text((12, HEIGHT_PX // 2), reason, fill=_INK)
    return image
