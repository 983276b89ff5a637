"""Video: frames at a rate, kept as JPEG files, one drive a video.

Frames lie in a folder of the video's name with `frames.json`, which is written last: where it
fits the video and the rate, nothing is decoded again.
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
    Options,
    Problem,
    Reading,
    Record,
    files_under,
    split_from,
)

_QUALITY = 95  # of JPEG: hardly a trace, at a fifth of the size of PNG
_INDEX = "frames.json"


def read(source: Path, options: Options) -> Reading:
    """Return frames of one video file, or of all videos below a folder.

    A video that cannot be decoded is on record among the absent.

    Raises:
        IngestError: The rate is not above 0, or the frames cannot be written.
    """
    if not options.fps > 0:
        raise IngestError(f"fps must be above 0, got {options.fps}.")
    videos = [source] if source.is_file() else files_under(source, VIDEO_SUFFIXES)
    root = source.parent if source.is_file() else source
    stems = Counter(video.stem for video in videos)
    reading = Reading(())
    for video in videos:
        unique = stems[video.stem] == 1
        drive = video.stem if unique else video.relative_to(root).with_suffix("").as_posix()
        reading += _read_video(video, drive, split_from(video, root, options.split_of), options)
    return reading


def _read_video(video: Path, drive: str, split: str | None, options: Options) -> Reading:
    folder = options.frames / f"{video.stem}-{_digest(str(video))[:8]}"
    identity = {
        "video": str(video),
        "bytes": video.stat().st_size,
        "modified": video.stat().st_mtime,
        "fps": options.fps,
    }
    known = _known(folder, identity)
    frames = known if known is not None else _extract(video, folder, identity, options.fps)
    if not frames:
        message = f"{video.name} holds no frame that can be decoded."
        return Reading((), absent=(Problem(str(video), "VideoError", message),))
    return Reading(
        tuple(
            Record(folder / name, split=split, drive=drive, time_s=time_s)
            for name, time_s in frames
        )
    )


def _known(folder: Path, identity: dict[str, Any]) -> list[tuple[str, float]] | None:
    """Return the frames that were extracted before, or None where they do not fit or are gone."""
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
    """Decode the video once and keep the first frame of every 1 / fps seconds."""
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS) or 0.0
    frames: list[tuple[str, float]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while rate > 0 and capture.grab():
            time_s = number / rate
            if time_s * fps >= len(frames) - 1e-9:
                whole, image = capture.retrieve()
                if whole:
                    frames.append((_write(folder, number, image), round(time_s, 6)))
            number += 1
        (folder / _INDEX).write_text(json.dumps({**identity, "frames": frames}))
    except OSError as error:
        raise IngestError(
            f"Frames of {video.name} cannot be kept in {folder} ({error.strerror}). Make room, "
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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
