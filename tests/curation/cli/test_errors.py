import errno

import pytest
from pymongo.errors import AutoReconnect

from cascade.errors import ManifestError
from curation.cli.errors import explain, is_database_error
from curation.errors import StoreError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(ManifestError("members[0]:\n  wrong."), "members[0]: wrong.", id="of ours"),
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device", "/disk/weights"),
            "/disk/weights cannot be written (No space left on device). Make room there, then run "
            "the same command again: what was written before stays.",
            id="a full disk",
        ),
        pytest.param(
            PermissionError(errno.EACCES, "Permission denied", "/disk"),
            "/disk cannot be written (Permission denied). Give write permission there, then run "
            "the same command again: what was written before stays.",
            id="no permission",
        ),
        pytest.param(
            AutoReconnect("127.0.0.1:1: refused (configured timeouts: 30s), Timeout: 30s"),
            "The database does not answer any more (AutoReconnect: 127.0.0.1:1: refused). Look at "
            "its disk and at `curate db status`, then run the same command again: what was "
            "written before stays.",
            id="a database that is gone",
        ),
        pytest.param(FileNotFoundError(errno.ENOENT, "No such file", "x"), None, id="a bug"),
        pytest.param(KeyError("x"), None, id="another bug"),
    ],
)
def test_expected_errors_are_one_line_and_bugs_are_not(error, line):
    assert explain(error) == line


def test_a_full_disk_without_a_file_names_our_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CURATION_HOME", str(tmp_path))
    line = explain(OSError(errno.ENOSPC, "No space left on device"))
    assert line.startswith(f"A file below {tmp_path} cannot be written")


def test_an_error_of_ours_may_come_of_the_database():
    ours = StoreError("The database did not answer.")
    assert not is_database_error(ours)
    ours.__cause__ = AutoReconnect("gone")
    assert is_database_error(ours)
