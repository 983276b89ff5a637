"""Image files opened with Pillow, independent of other imported packages."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import PIL
import PIL.Image


def open_image(file: str | Path | IO[bytes]) -> PIL.Image.Image:
    """Open an image and read its header; the pixels are read on demand.

    Raises:
        PIL.UnidentifiedImageError: The format is unknown. Once ultralytics is imported, Pillow
            first tries to import an optional HEIC package, whose absence is handled here.
        OSError: The file is missing or damaged.
    """
    try:
        return PIL.Image.open(file)
    except ModuleNotFoundError as error:
        raise PIL.UnidentifiedImageError(f"Cannot identify the image format of {file}") from error
