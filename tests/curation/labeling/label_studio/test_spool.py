import json
import os

import pytest

from curation.errors import LabelingError
from curation.labeling.label_studio.spool import Spool


def test_last_content_of_a_key_is_read(tmp_path):
    spool = Spool(tmp_path)
    spool.write(1, {"a": "ä\n"})
    spool.write(2, [])
    assert spool.read(1) == {"a": "ä\n"}
    spool.write(1, {"a": 2})
    assert (spool.read(2), spool.read(1)) == ([], {"a": 2})
    assert (list(spool), len(spool)) == ([1, 2], 2)
    spool.discard(2)
    spool.discard(3)
    assert (list(spool), spool.read(2)) == ([1], None)


def test_numbers_keep_full_precision(tmp_path):
    spool = Spool(tmp_path)
    spool.write("a", [0.1 + 0.2, 1 / 3])
    assert spool.read("a") == [0.1 + 0.2, 1 / 3]


def test_no_file_is_left(tmp_path):
    spool = Spool(tmp_path / "notes")
    spool.write(1, "x" * 100_000)
    assert os.listdir(tmp_path / "notes") == [], "the file has no name and disappears after a crash"


def test_full_disk_is_one_sentence(tmp_path):
    spool = Spool(tmp_path)
    spool._file.close()
    with open("/dev/full", "wb", buffering=0) as full:
        spool._file = full
        with pytest.raises(LabelingError, match=r"No space left on device\. Free disk space"):
            spool.write(1, json.dumps("x"))
