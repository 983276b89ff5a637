"""Whether files are whole images, decoded to the last pixel, and what they are like."""

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

from cascade.imaging.pillow import opened
from curation.ingest import jpeg_validation
from curation.ingest.records import Problem

_JPEG = "image/jpeg"
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: values that swap width and height
_BROKEN = (  # what Pillow raises on damaged files, by format
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
class Checked:
    """A file that is a whole image.

    Attributes:
        path: The file.
        content_hash: sha256 of its bytes, hex.
        size_px: Height and width of the upright image.
        channels: 1 for grey, 3 for colour, ...
        bytes: Its size on disk.
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


def check(path: Path) -> Checked | Problem:
    """Decode a whole file, and say what it is, or why it is no image."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Problem(str(path), type(error).__name__, f"cannot be read: {error.strerror}")
    if not data:
        return Problem(str(path), "ImageError", "has zero bytes")
    try:
        with opened(io.BytesIO(data)) as image:
            image.load()
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            height, width = (image.width, image.height) if turned else (image.height, image.width)
            return Checked(
                path=path,
                content_hash=hashlib.sha256(data).hexdigest(),
                size_px=(height, width),
                channels=len(image.getbands()),
                bytes=len(data),
                mime_type=Image.MIME.get(image.format or "") or mimetypes.guess_type(path)[0],
                luma=float(np.asarray(image.convert("L")).mean()) / 255.0,
            )
    except UnidentifiedImageError:
        return Problem(str(path), "ImageError", "is no image of a known kind")
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Problem(str(path), "ImageError", f"is damaged: {reason}")


def check_all(paths: Sequence[Path]) -> list[Checked | Problem]:
    """Check files in parallel; the results are in order."""
    with (
        warnings.catch_warnings(),  # filters are the process's: set once, for all threads
        ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool,
    ):
        warnings.simplefilter("ignore")  # of odd metadata; what is no image raises
        found = list(pool.map(check, paths))
    jpegs = [one.path for one in found if isinstance(one, Checked) and one.mime_type == _JPEG]
    guessed = jpeg_validation.damaged(jpegs)
    return [_unless_guessed(one, guessed) for one in found]


def _unless_guessed(file: Checked | Problem, guessed: Mapping[Path, str]) -> Checked | Problem:
    if isinstance(file, Problem) or file.path not in guessed:
        return file
    return Problem(str(file.path), "ImageError", f"is damaged: {guessed[file.path]}")


def exact_duplicates(hashes: Mapping[str, str | None]) -> list[list[str]]:
    """Return the groups of files, two or more each, whose bytes are the same.

    Args:
        hashes: The content hash by file; None where unknown.
    """
    same: dict[str, list[str]] = defaultdict(list)
    for path, content in hashes.items():
        if content is not None:
            same[content].append(path)
    return sorted(sorted(paths) for paths in same.values() if len(paths) > 1)
