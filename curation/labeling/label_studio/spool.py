"""Temporary storage of JSON on disk, for content that does not fit in memory."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from curation.labeling import export_folder

K = TypeVar("K")


class Spool(Generic[K]):
    """Content by key, one line each; writing a key again replaces its content.

    Args:
        folder: Folder of the file, which is unnamed and disappears after a crash.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[K, int] = {}
        self._end = 0
        with export_folder.translate_file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by finalize
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[K]:
        return iter(self._offsets)

    def write(self, key: K, content: Any) -> None:
        """Store content under a key.

        Raises:
            LabelingError: The disk is full.
        """
        line = json.dumps(content).encode() + b"\n"
        with export_folder.translate_file_errors(self._folder):
            if self._file.tell() != self._end:
                self._file.seek(self._end)
            self._file.write(line)
        self._offsets[key] = self._end
        self._end += len(line)

    def discard(self, key: K) -> None:
        """Remove a key, if present."""
        self._offsets.pop(key, None)

    def read(self, key: K) -> Any:
        """Return the content of a key, or None."""
        if key not in self._offsets:
            return None
        with export_folder.translate_file_errors(self._folder):
            self._file.seek(self._offsets[key], os.SEEK_SET)
            return json.loads(self._file.readline())
