"""Plain folders of images, without labels."""

from __future__ import annotations

from pathlib import Path

from curation.ingest.records import ReaderOptions, ReadResult, Record, find_images


def read(source: Path, options: ReaderOptions) -> ReadResult:
    """Return every image below a folder; folders named `train`, `val`, `test` are splits."""
    return ReadResult(
        tuple(
            Record(path, split=options.folder_split(path, source)) for path in find_images(source)
        )
    )
