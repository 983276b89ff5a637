"""Opening images with Pillow, whatever else has been imported."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import PIL
import PIL.Image


def opened(file: str | Path | IO[bytes]) -> PIL.Image.Image:
    """Open an image: its head is read, its pixels are not yet.

    Raises:
        PIL.UnidentifiedImageError: It is of no known kind. Where somebody has imported
            ultralytics, Pillow asks for a package of HEIC files first, which need not be there.
        OSError: The file is absent, or broken.
    """
    try:
        return PIL.Image.open(file)
    except ModuleNotFoundError as error:
        raise PIL.UnidentifiedImageError(f"{file} is no image of a known kind") from error
