"""Frames of generated videos."""

import cv2
import numpy as np
import pytest

from curation.errors import IngestError
from curation.ingest.readers import video
from curation.ingest.records import ReaderOptions


def write_video(path, frames=25, rate=10.0):
    """Write a video whose frame i is uniformly gray, ten times i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), 10 * i, np.uint8))
    writer.release()
    return path


def read(source, tmp_path, fps=2.0):
    return video.read(source, ReaderOptions(names=None, frames=tmp_path / "frames", fps=fps))


def test_frames_are_sampled_at_rate_with_times(tmp_path):
    records = read(write_video(tmp_path / "boston.mp4"), tmp_path).records
    assert [record.time_s for record in records] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert {record.drive for record in records} == {"boston"}
    names = [record.path.name for record in records]
    assert names[:2] == ["boston_000000.jpg", "boston_000005.jpg"]
    gray = [float(cv2.imread(str(record.path)).mean()) for record in records]
    assert gray == pytest.approx([0, 50, 100, 150, 200], abs=6)


def test_rate_above_frame_rate_takes_every_frame_once(tmp_path):
    assert len(read(write_video(tmp_path / "a.mp4", frames=7), tmp_path, fps=100).records) == 7


def test_existing_frames_are_not_decoded_again(tmp_path):
    clip = write_video(tmp_path / "a.mp4")
    first = read(clip, tmp_path).records
    before = [record.path.stat().st_mtime_ns for record in first]
    again = read(clip, tmp_path).records
    assert [record.path for record in again] == [record.path for record in first]
    assert [record.path.stat().st_mtime_ns for record in again] == before


def test_missing_frames_are_extracted_again(tmp_path):
    clip = write_video(tmp_path / "a.mp4")
    lost = read(clip, tmp_path).records[1].path
    lost.unlink()
    assert read(clip, tmp_path).records[1].path == lost
    assert lost.is_file()


def test_other_rate_extracts_other_frames(tmp_path):
    clip = write_video(tmp_path / "a.mp4")
    assert len(read(clip, tmp_path, fps=2).records) == 5
    assert len(read(clip, tmp_path, fps=1).records) == 3


def test_videos_with_same_name_are_separate_drives(tmp_path):
    write_video(tmp_path / "in" / "monday" / "front.mp4", frames=2)
    write_video(tmp_path / "in" / "tuesday" / "front.mp4", frames=2)
    records = read(tmp_path / "in", tmp_path).records
    assert {record.drive for record in records} == {"monday/front", "tuesday/front"}
    assert len({record.path for record in records}) == len(records)


@pytest.mark.parametrize("data", [b"", b"no video at all"], ids=["zero bytes", "text"])
def test_undecodable_video_is_recorded(tmp_path, data):
    (tmp_path / "a.mp4").write_bytes(data)
    result = read(tmp_path / "a.mp4", tmp_path)
    assert result.records == ()
    assert result.absent[0].message == "a.mp4 has no frame that can be decoded."


def test_zero_rate_is_rejected(tmp_path):
    with pytest.raises(IngestError, match=r"fps must be above 0, got 0\.0"):
        read(tmp_path, tmp_path, fps=0.0)
