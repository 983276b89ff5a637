"""Validation of image files: full decoding, content hash and basic properties."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cascade.imaging.pillow import open_image
from curation.ingest import jpeg_validation
from curation.ingest.records import Problem

_JPEG = "image/jpeg"
_ORIENTATION, _ROTATED = 0x0112, (5, 6, 7, 8)  # EXIF: values that swap width and height
_DECODER_ERRORS = (  # what Pillow raises on damaged files, by format
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class CheckedImage:
    """An undamaged image file.

    Attributes:
        path: The file.
        content_hash: SHA-256 of its bytes, hex.
        size_px: Height and width of the upright image.
        channels: 1 for gray, 3 for color, ...
        bytes: Size on disk.
        mime_type: Such as `image/jpeg`.
        luma: Mean of 0.299 R + 0.587 G + 0.114 B over the image, in [0, 1].
    """

    path: Path
    content_hash: str
    size_px: tuple[int, int]
    channels: int
    bytes: int
    mime_type: str | None
    luma: float


def check_image(path: Path) -> CheckedImage | Problem:
    """Decode a file completely, and return its properties or the reason for the failure."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Problem(str(path), type(error).__name__, f"cannot be read: {error.strerror}")
    if not data:
        return Problem(str(path), "ImageError", "has zero bytes")
    try:
        with open_image(io.BytesIO(data)) as image:
            image.load()
            rotated = image.getexif().get(_ORIENTATION) in _ROTATED
            height, width = (image.width, image.height) if rotated else (image.height, image.width)
            return CheckedImage(
                path=path,
                content_hash=hashlib.sha256(data).hexdigest(),
                size_px=(height, width),
                channels=len(image.getbands()),
                bytes=len(data),
                mime_type=Image.MIME.get(image.format or "") or mimetypes.guess_type(path)[0],
                luma=float(np.asarray(image.convert("L")).mean()) / 255.0,
            )
    except UnidentifiedImageError:
        return Problem(str(path), "ImageError", "is not an image in a known format")
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Problem(str(path), "ImageError", f"is damaged: {reason}")


def check_images(paths: Sequence[Path]) -> list[CheckedImage | Problem]:
    """Check files in parallel; the results are in the order of the paths."""
    with (
        warnings.catch_warnings(),  # filters are process-wide: set them once for all threads
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
    ):
        warnings.simplefilter("ignore")  # odd metadata only warns; damaged images raise
        results = list(pool.map(check_image, paths))
    images = [result for result in results if isinstance(result, CheckedImage)]
    damage = jpeg_validation.find_damage([i.path for i in images if i.mime_type == _JPEG])
    return [
        Problem(str(result.path), "ImageError", f"is damaged: {damage[result.path]}")
        if isinstance(result, CheckedImage) and result.path in damage
        else result
        for result in results
    ]


def exact_duplicates(hashes: Mapping[str, str | None]) -> list[list[str]]:
    """Return the groups of two or more files with identical bytes.

    Args:
        hashes: Content hash by file; None if unknown.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for path, content_hash in hashes.items():
        if content_hash is not None:
            groups[content_hash].append(path)
    return sorted(sorted(paths) for paths in groups.values() if len(paths) > 1)
