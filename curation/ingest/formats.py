"""Which format a source is in, and reading it with the reader of that format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from curation.errors import IngestError
from curation.ingest.readers import coco, folder, video, voc, yolo
from curation.ingest.records import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Options,
    Reader,
    Reading,
    files_under,
)

READERS: Mapping[str, Reader] = {
    "folder": folder.read,
    "yolo": yolo.read,
    "coco": coco.read,
    "voc": voc.read,
    "video": video.read,
}


def read(source: Path, source_format: str, options: Options) -> tuple[Reading, tuple[str, ...]]:
    """Return what a source holds, and the formats that it was read as.

    Args:
        source: A folder, a video, or a COCO file; absolute.
        source_format: `folder`, `yolo`, `coco`, `voc`, `video`, or `auto` to look.
        options: What the readers may have to be told.

    Raises:
        IngestError: There is no such source, it holds no image, or not in that format.
    """
    if source_format != "auto" and source_format not in READERS:
        raise IngestError(f"The format must be auto, {', '.join(READERS)}, got {source_format!r}.")
    if not source.exists():
        raise IngestError(f"There is nothing at {source}. Give a folder of images.")
    formats = recognise(source, options) if source_format == "auto" else (source_format,)
    reading = Reading(())
    for one in formats:
        reading += READERS[one](source, options)
    if not reading.records and not reading.absent:
        raise IngestError(
            f"{source} holds no images. Expected files that end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}, or videos."
        )
    return reading, formats


def recognise(source: Path, options: Options) -> tuple[str, ...]:
    """Return the formats of a source: one for its images, and `video` where it has videos, too.

    Labels decide: COCO, then YOLO (or class names that were given), then VOC, else a folder.
    """
    if source.is_file():
        return ("coco",) if source.suffix.lower() == ".json" else ("video",)
    videos = ("video",) if files_under(source, VIDEO_SUFFIXES) else ()
    if coco.annotation_files(source):
        return ("coco", *videos)
    if options.names or yolo.is_here(source):
        return ("yolo", *videos)
    if voc.annotation_files(source):
        return ("voc", *videos)
    if videos and not files_under(source, IMAGE_SUFFIXES):
        return videos
    return ("folder", *videos)
