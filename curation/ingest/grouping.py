"""Which drive or source photograph an image comes from, by its file's name.

Images of one drive are never apart: not in splits, not in a bootstrap.
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


def drive_rule(pattern: str | None) -> Callable[[Path], str]:
    """Return what tells the drive of a file.

    Args:
        pattern: A regular expression that is searched in the file's name; its first group, or
            all of it, is the drive. Where it does not match, and without one: the photograph
            or video that Roboflow made the file of, else the file is a drive of its own.

    Raises:
        IngestError: The pattern is no regular expression.
    """
    if pattern is None:
        return own_drive
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise IngestError(
            f"The drive pattern {pattern!r} is no regular expression: {error}. "
            "For names such as boston_00030.jpg use '^(.+)_[0-9]+'."
        ) from error

    def by_pattern(path: Path) -> str:
        found = compiled.search(path.name)
        if not found:
            return own_drive(path)
        return str(found.group(1 if compiled.groups else 0)) or own_drive(path)

    return by_pattern


def own_drive(path: Path) -> str:
    """Return the source of a Roboflow export, else the file's own name."""
    source = _ROBOFLOW.fullmatch(path.stem)
    if not source:
        return path.stem
    frame = _VIDEO_FRAME.fullmatch(source["name"])
    return frame["name"] if frame else source["name"]
