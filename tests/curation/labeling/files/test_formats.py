from typing import get_args

import pytest

from curation.labeling.files.formats import FORMATS, Format


def test_every_format_is_known():
    assert tuple(FORMATS) == get_args(Format)


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_returned_is_nothing_submitted(tmp_path, roadwork, form):
    assert FORMATS[form].read(tmp_path, [], roadwork) == {}
    assert "into returned/" in FORMATS[form].how
