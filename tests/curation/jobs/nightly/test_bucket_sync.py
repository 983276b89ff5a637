"""A bucket is any file system that Arrow reads; here it is a folder, by its address."""

import pytest

from curation.errors import StageError
from curation.jobs.nightly import bucket_sync


@pytest.fixture
def there(tmp_path):
    folder = tmp_path / "bucket"
    (folder / "drive1").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"a")
    (folder / "drive1" / "b.png").write_bytes(b"bb")
    (folder / ".hidden").write_bytes(b"no image")
    return folder


def files(folder):
    return {
        one.relative_to(folder).as_posix(): one.read_bytes()
        for one in folder.rglob("*")
        if one.is_file()
    }


def test_only_new_files_are_copied(there, tmp_path):
    here = tmp_path / "inbox"
    assert bucket_sync.fetch(there.as_uri(), here) == 2
    assert files(here) == {"a.png": b"a", "drive1/b.png": b"bb"}
    assert bucket_sync.fetch(there.as_uri(), here) == 0
    (there / "c.png").write_bytes(b"c")
    (there / "a.png").write_bytes(b"another")
    assert bucket_sync.fetch(there.as_uri(), here) == 2
    assert files(here) == {"a.png": b"another", "drive1/b.png": b"bb", "c.png": b"c"}


def test_deleted_files_stay(there, tmp_path):
    bucket_sync.fetch(there.as_uri(), tmp_path / "inbox")
    (there / "a.png").unlink()
    assert bucket_sync.fetch(there.as_uri(), tmp_path / "inbox") == 0
    assert (tmp_path / "inbox" / "a.png").is_file()


@pytest.mark.parametrize("address", ["file:///no/such/folder", "nosuchscheme://bucket/prefix"])
def test_unreadable_bucket_is_an_error(address, tmp_path):
    with pytest.raises(StageError, match=f"Cannot read the bucket {address}: .* Check"):
        bucket_sync.fetch(address, tmp_path)


def test_names_stay_in_folder(tmp_path):
    assert bucket_sync._target("bucket/a/../../etc/passwd", "bucket", tmp_path) is None
    assert bucket_sync._target("bucket/a/b.png", "bucket", tmp_path) == tmp_path / "a" / "b.png"


@pytest.mark.parametrize(
    ("place", "expected"), [("s3://bucket/prefix", True), ("/data/inbox", False), ("inbox", False)]
)
def test_address_differs_from_folder(place, expected):
    assert bucket_sync.is_address(place) is expected
