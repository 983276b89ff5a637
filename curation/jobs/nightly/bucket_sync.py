"""Copy of a watched bucket into a folder, from which it is ingested.

Addresses are those of Arrow: `s3://bucket/prefix`, `gs://...`, `file:///...`. Credentials come
from the environment, as for the services' command-line tools.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cascade.runtime.atomic_files import atomic_write
from curation.errors import StageError

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem


def is_address(location: str) -> bool:
    """Return whether a location is the address of a bucket, rather than a folder."""
    return "://" in location


def fetch(address: str, folder: Path) -> int:
    """Copy new and changed files from a bucket to a folder; return their number.

    Files deleted from the bucket stay in the folder. Each file is written atomically.

    Raises:
        StageError: The bucket cannot be read.
    """
    from pyarrow import ArrowException, fs

    try:
        source, base = fs.FileSystem.from_uri(address)
        entries = source.get_file_info(fs.FileSelector(base, recursive=True))
        files = [entry for entry in entries if entry.type == fs.FileType.File]
        return sum(_copy(source, file, _target(file.path, base, folder)) for file in files)
    except (ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise StageError(
            f"Cannot read the bucket {address}: {reason}. Check the address and the read "
            "permission of this machine."
        ) from error


def _copy(source: FileSystem, info: FileInfo, target: Path | None) -> bool:
    """Copy a file unless the target has its size and time; return whether it was copied."""
    if target is None or target.name.startswith("."):
        return False
    if target.is_file():
        existing = target.stat()
        if (existing.st_size, existing.st_mtime_ns) == (info.size, info.mtime_ns):
            return False
    with atomic_write(target) as draft:
        with source.open_input_stream(info.path) as stream, draft.open("wb") as file:
            shutil.copyfileobj(stream, file)
        os.utime(draft, ns=(info.mtime_ns, info.mtime_ns))
    return True


def _target(path: str, base: str, folder: Path) -> Path | None:
    """Return the path of a copy; None for a name that leads out of the folder."""
    relative = PurePosixPath(path).relative_to(PurePosixPath(base))
    return None if ".." in relative.parts else folder / relative
