import pytest

from curation.errors import PublishError
from curation.tracking.registry import checksums


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    (path / "members" / "a b").mkdir(parents=True)
    (path / "manifest.yaml").write_text("one")
    (path / "members" / "a b" / "weights").write_bytes(bytes(range(9)))
    return path


def test_text_round_trip(folder):
    files = checksums.of_folder(folder)
    assert list(files) == ["manifest.yaml", "members/a b/weights"]
    assert files["members/a b/weights"].size == 9
    assert checksums.from_text(checksums.to_text(files)) == files
    checksums.verify(folder, files, subject="It")


def test_hash_is_sha256(folder):
    expected = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"  # of "one"
    assert checksums.of_folder(folder)["manifest.yaml"].sha256 == expected


DAMAGE = [
    pytest.param(lambda f: (f / "manifest.yaml").write_text("onf"), "manifest.yaml has", id="byte"),
    pytest.param(
        lambda f: (f / "manifest.yaml").unlink(), "manifest.yaml is missing", id="missing"
    ),
    pytest.param(lambda f: (f / "new").touch(), "new was not registered", id="extra"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_changed_files_are_named(folder, damage, message):
    files = checksums.of_folder(folder)
    damage(folder)
    with pytest.raises(PublishError, match=rf"It differs from what was registered.*{message}"):
        checksums.verify(folder, files, subject="It")


@pytest.mark.parametrize("line", ["", "abc", "0" * 64 + " x y", "0" * 63 + " 3 path"])
def test_invalid_text_is_refused(line):
    with pytest.raises(PublishError, match="must be `sha256 size path`"):
        checksums.from_text(f"{line}\n")
