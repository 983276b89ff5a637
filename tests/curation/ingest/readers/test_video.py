"""Frames of videos that are written on the spot."""

import cv2
import numpy as np
import pytest

from curation.errors import IngestError
from curation.ingest.readers import video
from curation.ingest.records import Options


def film(path, frames=25, rate=10.0):
    """Write a video whose frame i is uniformly grey, ten times i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), 10 * i, np.uint8))
    writer.release()
    return path


def read(source, tmp_path, fps=2.0):
    return video.read(source, Options(names=None, frames=tmp_path / "frames", fps=fps))


def test_frames_at_a_rate_with_their_times(tmp_path):
    records = read(film(tmp_path / "boston.mp4"), tmp_path).records
    assert [one.time_s for one in records] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert {one.drive for one in records} == {"boston"}
    assert [one.path.name for one in records][:2] == ["boston_000000.jpg", "boston_000005.jpg"]
    grey = [float(cv2.imread(str(one.path)).mean()) for one in records]
    assert grey == pytest.approx([0, 50, 100, 150, 200], abs=6)


def test_a_rate_above_the_videos_own_takes_every_frame_once(tmp_path):
    assert len(read(film(tmp_path / "a.mp4", frames=7), tmp_path, fps=100).records) == 7


def test_frames_that_are_there_are_not_decoded_again(tmp_path):
    clip = film(tmp_path / "a.mp4")
    first = read(clip, tmp_path).records
    before = [one.path.stat().st_mtime_ns for one in first]
    again = read(clip, tmp_path).records
    assert [one.path for one in again] == [one.path for one in first]
    assert [one.path.stat().st_mtime_ns for one in again] == before


def test_frames_that_are_gone_are_made_again(tmp_path):
    clip = film(tmp_path / "a.mp4")
    lost = read(clip, tmp_path).records[1].path
    lost.unlink()
    assert read(clip, tmp_path).records[1].path == lost
    assert lost.is_file()


def test_another_rate_takes_other_frames(tmp_path):
    clip = film(tmp_path / "a.mp4")
    assert len(read(clip, tmp_path, fps=2).records) == 5
    assert len(read(clip, tmp_path, fps=1).records) == 3


def test_videos_of_one_name_are_drives_of_their_own(tmp_path):
    film(tmp_path / "in" / "monday" / "front.mp4", frames=2)
    film(tmp_path / "in" / "tuesday" / "front.mp4", frames=2)
    records = read(tmp_path / "in", tmp_path).records
    assert {one.drive for one in records} == {"monday/front", "tuesday/front"}
    assert len({one.path for one in records}) == len(records)


@pytest.mark.parametrize("data", [b"", b"no video at all"], ids=["zero bytes", "text"])
def test_a_video_that_cannot_be_decoded_is_on_record(tmp_path, data):
    (tmp_path / "a.mp4").write_bytes(data)
    reading = read(tmp_path / "a.mp4", tmp_path)
    assert reading.records == ()
    assert reading.absent[0].message == "a.mp4 holds no frame that can be decoded."


def test_a_rate_of_nothing_is_refused(tmp_path):
    with pytest.raises(IngestError, match=r"fps must be above 0, got 0\.0"):
        read(tmp_path, tmp_path, fps=0.0)
