"""Drive or source photograph of an image, derived from its file name.

Images of one drive stay together in splits and in bootstraps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from curation.errors import IngestError

# Roboflow names every augmented copy NAME_jpg.rf.HASH, and a frame of a video VIDEO_mp4-7.
_ROBOFLOW = re.compile(
    r"(?P<name>.+)_(?:jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9a-zA-Z]+", re.IGNORECASE
)
_VIDEO_FRAME = re.compile(r"(?P<name>.+)_(?:mp4|mov|avi|mkv|webm|m4v)-\d+", re.IGNORECASE)


def drive_finder(pattern: str | None) -> Callable[[Path], str]:
    """Return a function from a file to its drive.

    Args:
        pattern: Regular expression to search in the file name; its first group, or the whole
            match without groups, is the drive. Files that do not match, and all files if None,
            use `default_drive`.

    Raises:
        IngestError: The pattern is not a regular expression.
    """
    if pattern is None:
        return default_drive
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise IngestError(
            f"The drive pattern {pattern!r} is not a regular expression: {error}. "
            "For names such as boston_00030.jpg use '^(.+)_[0-9]+'."
        ) from error

    def find_drive(path: Path) -> str:
        match = compiled.search(path.name)
        if not match:
            return default_drive(path)
        return str(match.group(1 if compiled.groups else 0)) or default_drive(path)

    return find_drive


def default_drive(path: Path) -> str:
    """Return the photograph or video behind a Roboflow export, else the file's own stem."""
    source = _ROBOFLOW.fullmatch(path.stem)
    if not source:
        return path.stem
    frame = _VIDEO_FRAME.fullmatch(source["name"])
    return frame["name"] if frame else source["name"]
