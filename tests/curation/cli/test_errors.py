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
            "Cannot write /disk/weights (No space left on device). Free some space there, then run "
            "the same command again. Everything written so far is kept.",
            id="a full disk",
        ),
        pytest.param(
            PermissionError(errno.EACCES, "Permission denied", "/disk"),
            "Cannot write /disk (Permission denied). Grant write permission there, then run "
            "the same command again. Everything written so far is kept.",
            id="no permission",
        ),
        pytest.param(
            AutoReconnect("127.0.0.1:1: refused (configured timeouts: 30s), Timeout: 30s"),
            "The database no longer answers (AutoReconnect: 127.0.0.1:1: refused). Check its disk "
            "and `curate db status`, then run the same command again. Everything written so far "
            "is kept.",
            id="a database that is gone",
        ),
        pytest.param(FileNotFoundError(errno.ENOENT, "No such file", "x"), None, id="a bug"),
        pytest.param(KeyError("x"), None, id="another bug"),
    ],
)
def test_only_expected_errors_are_explained(error, line):
    assert explain(error) == line


def test_full_disk_without_file_names_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CURATION_HOME", str(tmp_path))
    line = explain(OSError(errno.ENOSPC, "No space left on device"))
    assert line.startswith(f"Cannot write a file below {tmp_path} (No space")


def test_database_error_may_be_the_cause():
    error = StoreError("The database did not answer.")
    assert not is_database_error(error)
    error.__cause__ = AutoReconnect("gone")
    assert is_database_error(error)
