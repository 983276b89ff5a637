"""Detection of a source's format, and reading with the reader of that format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from curation.errors import IngestError
from curation.ingest.readers import coco, folder, video, voc, yolo
from curation.ingest.records import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Reader,
    ReaderOptions,
    ReadResult,
    find_files,
    find_images,
)

READERS: Mapping[str, Reader] = {
    "folder": folder.read,
    "yolo": yolo.read,
    "coco": coco.read,
    "voc": voc.read,
    "video": video.read,
}


def read(
    source: Path, source_format: str, options: ReaderOptions
) -> tuple[ReadResult, tuple[str, ...]]:
    """Return the content of a source, and the formats that it was read as.

    Args:
        source: Absolute path of a folder, a video, or a COCO file.
        source_format: `folder`, `yolo`, `coco`, `voc`, `video`, or `auto` to detect it.
        options: Options of the readers.

    Raises:
        IngestError: The source does not exist, has no images, or is not in that format.
    """
    if source_format != "auto" and source_format not in READERS:
        raise IngestError(f"The format must be auto, {', '.join(READERS)}, got {source_format!r}.")
    if not source.exists():
        raise IngestError(f"{source} does not exist. Specify a folder of images.")
    formats = detect_formats(source, options) if source_format == "auto" else (source_format,)
    result = ReadResult(())
    for name in formats:
        result += READERS[name](source, options)
    if not result.records and not result.absent:
        raise IngestError(
            f"{source} contains no images. Expected files that end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}, or videos."
        )
    return result, formats


def detect_formats(source: Path, options: ReaderOptions) -> tuple[str, ...]:
    """Return the format of a source's images, and `video` if it also has videos.

    Labels decide, in this order: COCO, YOLO (also if class names were given), VOC; else a folder.
    """
    if source.is_file():
        return ("coco",) if source.suffix.lower() == ".json" else ("video",)
    videos = ("video",) if find_files(source, VIDEO_SUFFIXES) else ()
    if coco.annotation_files(source):
        return ("coco", *videos)
    if options.names or yolo.is_yolo(source):
        return ("yolo", *videos)
    if voc.annotation_files(source):
        return ("voc", *videos)
    if videos and not find_images(source):
        return videos
    return ("folder", *videos)
