"""Videos: frames at a fixed rate, stored as JPEG files, one drive per video.

Frames are stored in a folder named after the video with `frames.json`, which is written last. If
it matches the video and the rate, the video is not decoded again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2

from curation.errors import IngestError
from curation.ingest.records import (
    VIDEO_SUFFIXES,
    Problem,
    ReaderOptions,
    ReadResult,
    Record,
    find_files,
)

_QUALITY = 95  # JPEG: nearly lossless at a fifth of the size of PNG
_INDEX = "frames.json"


def read(source: Path, options: ReaderOptions) -> ReadResult:
    """Return the frames of one video file, or of all videos below a folder.

    Videos that cannot be decoded are listed in `absent`.

    Raises:
        IngestError: The rate is not above 0, or the frames cannot be written.
    """
    if not options.fps > 0:
        raise IngestError(f"fps must be above 0, got {options.fps}.")
    videos = [source] if source.is_file() else find_files(source, VIDEO_SUFFIXES)
    root = source.parent if source.is_file() else source
    stems = Counter(video.stem for video in videos)
    result = ReadResult(())
    for video in videos:
        unique = stems[video.stem] == 1
        drive = video.stem if unique else video.relative_to(root).with_suffix("").as_posix()
        result += _read_video(video, drive, options.folder_split(video, root), options)
    return result


def _read_video(video: Path, drive: str, split: str | None, options: ReaderOptions) -> ReadResult:
    digest = hashlib.sha256(str(video).encode()).hexdigest()
    folder = options.frames / f"{video.stem}-{digest[:8]}"
    identity = {
        "video": str(video),
        "bytes": video.stat().st_size,
        "modified": video.stat().st_mtime,
        "fps": options.fps,
    }
    frames = _stored_frames(folder, identity)
    if frames is None:
        frames = _extract(video, folder, identity, options.fps)
    if not frames:
        message = f"{video.name} has no frame that can be decoded."
        return ReadResult((), absent=(Problem(str(video), "VideoError", message),))
    return ReadResult(
        tuple(
            Record(folder / name, split=split, drive=drive, time_s=time_s)
            for name, time_s in frames
        )
    )


def _stored_frames(folder: Path, identity: dict[str, Any]) -> list[tuple[str, float]] | None:
    """Return the frames that were extracted before, or None if outdated or missing."""
    try:
        index = json.loads((folder / _INDEX).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if {key: index.get(key) for key in identity} != identity:
        return None
    frames = [(str(name), float(time_s)) for name, time_s in index["frames"]]
    return frames if all((folder / name).is_file() for name, _ in frames) else None


def _extract(
    video: Path, folder: Path, identity: dict[str, Any], fps: float
) -> list[tuple[str, float]]:
    """Decode the video once, and store the first frame of every 1 / fps seconds."""
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS) or 0.0
    frames: list[tuple[str, float]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while rate > 0 and capture.grab():
            time_s = number / rate
            if time_s * fps >= len(frames) - 1e-9:
                decoded, image = capture.retrieve()
                if decoded:
                    frames.append((_write(folder, number, image), round(time_s, 6)))
            number += 1
        (folder / _INDEX).write_text(json.dumps({**identity, "frames": frames}))
    except OSError as error:
        raise IngestError(
            f"Cannot store frames of {video.name} in {folder}: {error.strerror}. Free disk space, "
            "or set CURATION_HOME to another disk."
        ) from error
    finally:
        capture.release()
    return frames


def _write(folder: Path, number: int, image: Any) -> str:
    name = f"{folder.name.rpartition('-')[0]}_{number:06d}.jpg"
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    (folder / name).write_bytes(encoded.tobytes())
    return name
