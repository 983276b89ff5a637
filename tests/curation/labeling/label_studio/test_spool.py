import json
import os

import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.spool import Spool


def test_the_last_content_of_a_key_holds(tmp_path):
    spool = Spool(tmp_path)
    spool.keep(1, {"a": "ä\n"})
    spool.keep(2, [])
    assert spool.read(1) == {"a": "ä\n"}
    spool.keep(1, {"a": 2})
    assert (spool.read(2), spool.read(1)) == ([], {"a": 2})
    assert (list(spool), len(spool)) == ([1, 2], 2)
    spool.forget(2)
    spool.forget(3)
    assert (list(spool), spool.read(2)) == ([1], None)


def test_numbers_come_back_to_the_last_digit(tmp_path):
    spool = Spool(tmp_path)
    spool.keep("a", [0.1 + 0.2, 1 / 3])
    assert spool.read("a") == [0.1 + 0.2, 1 / 3]


def test_nothing_of_it_is_left(tmp_path):
    spool = Spool(tmp_path / "notes")
    spool.keep(1, "x" * 100_000)
    assert os.listdir(tmp_path / "notes") == [], "it has no name, so a crash leaves nothing"


def test_a_full_disk_is_one_line(tmp_path):
    spool = Spool(tmp_path)
    spool._file.close()
    with open("/dev/full", "wb", buffering=0) as full:
        spool._file = full
        with pytest.raises(LabelingError, match=r"No space left on device\. Free the disk"):
            spool.keep(1, json.dumps("x"))
