"""Plain folders of images, without labels."""

from __future__ import annotations

from pathlib import Path

from curation.ingest.records import (
    IMAGE_SUFFIXES,
    Options,
    Reading,
    Record,
    files_under,
    split_from,
)


def read(source: Path, options: Options) -> Reading:
    """Return every image below a folder; folders named `train`, `val`, `test` are splits."""
    return Reading(
        tuple(
            Record(path, split=split_from(path, source, options.split_of))
            for path in files_under(source, IMAGE_SUFFIXES)
        )
    )
