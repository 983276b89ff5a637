import pytest

from curation.errors import PublishError
from curation.tracking.registry import checksums


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    (made / "members" / "a b").mkdir(parents=True)
    (made / "manifest.yaml").write_text("one")
    (made / "members" / "a b" / "weights").write_bytes(bytes(range(9)))
    return made


def test_text_there_and_back(folder):
    files = checksums.of_folder(folder)
    assert list(files) == ["manifest.yaml", "members/a b/weights"]
    assert files["members/a b/weights"].size == 9
    assert checksums.from_text(checksums.to_text(files)) == files
    checksums.expect(folder, files, what="It")


def test_the_hash_is_sha256(folder):
    known = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"  # of "one"
    assert checksums.of_folder(folder)["manifest.yaml"].sha256 == known


DAMAGE = [
    pytest.param(lambda f: (f / "manifest.yaml").write_text("onf"), "manifest.yaml has", id="byte"),
    pytest.param(lambda f: (f / "manifest.yaml").unlink(), "manifest.yaml is absent", id="absent"),
    pytest.param(lambda f: (f / "new").touch(), "new was never registered", id="beside"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_named(folder, damage, message):
    files = checksums.of_folder(folder)
    damage(folder)
    with pytest.raises(PublishError, match=rf"It is not what was registered.*{message}"):
        checksums.expect(folder, files, what="It")


@pytest.mark.parametrize("line", ["", "abc", "0" * 64 + " x y", "0" * 63 + " 3 path"])
def test_other_text_is_refused(line):
    with pytest.raises(PublishError, match="must be `sha256 size path`"):
        checksums.from_text(f"{line}\n")
