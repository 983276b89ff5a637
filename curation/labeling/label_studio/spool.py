"""What does not fit into memory: JSON on disk, gone with who holds it."""

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
    """Content by key, a line each; of a key that comes again, the last one holds.

    Args:
        folder: Where the file is made; it has no name there, and is gone after a crash.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[K, int] = {}
        self._end = 0
        with export_folder.explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by the next
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[K]:
        return iter(self._offsets)

    def keep(self, key: K, content: Any) -> None:
        """Keep content under a key.

        Raises:
            LabelingError: The disk is full.
        """
        line = json.dumps(content).encode() + b"\n"
        with export_folder.explained(self._folder):
            if self._file.tell() != self._end:
                self._file.seek(self._end)
            self._file.write(line)
        self._offsets[key] = self._end
        self._end += len(line)

    def forget(self, key: K) -> None:
        """Keep nothing under a key."""
        self._offsets.pop(key, None)

    def read(self, key: K) -> Any:
        """Return the content under a key; None where there is none."""
        if key not in self._offsets:
            return None
        with export_folder.explained(self._folder):
            self._file.seek(self._offsets[key], os.SEEK_SET)
            return json.loads(self._file.readline())
