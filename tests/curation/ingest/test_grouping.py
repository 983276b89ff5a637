"""Drive of a file, by its name."""

from pathlib import Path

import pytest

from curation.errors import IngestError
from curation.ingest.grouping import drive_finder

NAMES = [
    pytest.param(None, "a.jpg", "a", id="a file is its own drive"),
    pytest.param(None, "526_jpg.rf.0a1b2c.jpg", "526", id="a Roboflow copy is its photograph"),
    pytest.param(
        None, "-1670-_png_jpg.rf.0463ed.jpg", "-1670-_png", id="only the last suffix is Roboflow's"
    ),
    pytest.param(
        None, "IMG_3103_mp4-17_jpg.rf.aa.jpg", "IMG_3103", id="a frame of a video is of the video"
    ),
    pytest.param("^(.+)_[0-9]+", "new_york_00030.jpg", "new_york", id="the pattern's first group"),
    pytest.param("^[a-z]+", "boston_00030.jpg", "boston", id="without a group, the whole match"),
    pytest.param("^([0-9]+)_", "boston.jpg", "boston", id="no match, its own drive"),
    pytest.param("^(x*)", "boston.jpg", "boston", id="an empty match is none"),
]


@pytest.mark.parametrize(("pattern", "name", "drive"), NAMES)
def test_drive_is_derived_from_file_name(pattern, name, drive):
    assert drive_finder(pattern)(Path("/somewhere", name)) == drive


def test_invalid_pattern_is_rejected():
    with pytest.raises(IngestError, match="is not a regular expression"):
        drive_finder("(")
