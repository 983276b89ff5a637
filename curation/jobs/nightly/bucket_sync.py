"""A watched bucket: what is new there is copied into a folder, which is then ingested as any other.

An address is one that Arrow reads: `s3://bucket/prefix`, `gs://...`, `file:///...`. Credentials
come from the environment, as the services' own tools take them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from cascade.runtime.atomic_files import atomic_write
from curation.errors import StageError


def is_address(place: str) -> bool:
    """Return whether a place is the address of a bucket, and not a folder."""
    return "://" in place


def fetch(address: str, folder: Path) -> int:
    """Copy what a folder lacks of a bucket, or has of another size or time; return how many.

    Nothing is taken back that is gone from the bucket. A file is in the folder whole, or not.

    Raises:
        StageError: The bucket cannot be read.
    """
    from pyarrow import ArrowException, fs

    try:
        source, base = fs.FileSystem.from_uri(address)
        found = source.get_file_info(fs.FileSelector(base, recursive=True))
        files = [one for one in found if one.type == fs.FileType.File]
        return sum(_fetched(source, one, _target(one.path, base, folder)) for one in files)
    except (ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise StageError(
            f"The bucket {address} cannot be read: {first}. Check the address, and that this "
            "machine may read it."
        ) from error


def _fetched(source: Any, one: Any, target: Path | None) -> bool:
    """Copy one object where it is new."""
    if target is None or target.name.startswith("."):
        return False
    if target.is_file():
        there = target.stat()
        if (there.st_size, there.st_mtime_ns) == (one.size, one.mtime_ns):
            return False
    with atomic_write(target) as draft:
        with source.open_input_stream(one.path) as stream, draft.open("wb") as file:
            shutil.copyfileobj(stream, file)
        os.utime(draft, ns=(one.mtime_ns, one.mtime_ns))
    return True


def _target(path: str, base: str, folder: Path) -> Path | None:
    """Return where an object goes; None for a name that would lead out of the folder."""
    relative = PurePosixPath(path).relative_to(PurePosixPath(base))
    return None if ".." in relative.parts else folder / relative
