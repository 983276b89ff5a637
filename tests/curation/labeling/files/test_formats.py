from typing import get_args

import pytest

from curation.labeling.files.formats import FORMATS, Format


def test_every_format_is_registered():
    assert tuple(FORMATS) == get_args(Format)


@pytest.mark.parametrize("file_format", FORMATS)
def test_empty_folder_has_no_submissions(tmp_path, roadwork, file_format):
    assert FORMATS[file_format].read(tmp_path, [], roadwork) == {}
    assert "into returned/" in FORMATS[file_format].instructions
