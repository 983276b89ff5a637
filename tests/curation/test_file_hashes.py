import pytest

from curation import file_hashes
from curation.errors import PublishError


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    (made / "members" / "a b").mkdir(parents=True)
    (made / "manifest.yaml").write_text("one")
    (made / "members" / "a b" / "weights").write_bytes(bytes(range(9)))
    return made


def test_text_there_and_back(folder):
    files = file_hashes.of_folder(folder)
    assert list(files) == ["manifest.yaml", "members/a b/weights"]
    assert files["members/a b/weights"].size == 9
    assert file_hashes.from_text(file_hashes.to_text(files)) == files
    file_hashes.expect(folder, files, what="It")


def test_the_hash_is_sha256(folder):
    known = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"  # of "one"
    assert file_hashes.of_folder(folder)["manifest.yaml"].sha256 == known


DAMAGE = [
    pytest.param(lambda f: (f / "manifest.yaml").write_text("onf"), "manifest.yaml has", id="byte"),
    pytest.param(lambda f: (f / "manifest.yaml").unlink(), "manifest.yaml is absent", id="absent"),
    pytest.param(lambda f: (f / "new").touch(), "new was never registered", id="beside"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_named(folder, damage, message):
    files = file_hashes.of_folder(folder)
    damage(folder)
    with pytest.raises(PublishError, match=rf"It is not what was registered.*{message}"):
        file_hashes.expect(folder, files, what="It")


@pytest.mark.parametrize("line", ["", "abc", "0" * 64 + " x y", "0" * 63 + " 3 path"])
def test_other_text_is_refused(line):
    with pytest.raises(PublishError, match="must be `sha256 size path`"):
        file_hashes.from_text(f"{line}\n")
