import pytest

from cascade.runtime.atomic_files import atomic_write, atomic_write_text


def test_file_is_replaced_when_the_block_ends(tmp_path):
    file = tmp_path / "new" / "a.txt"
    atomic_write_text(file, "old")
    with atomic_write(file) as draft:
        draft.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]


def write_half(file, error):
    with atomic_write(file) as draft:
        draft.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failed_block_keeps_the_file_and_deletes_the_draft(tmp_path, error):
    file = tmp_path / "a.txt"
    atomic_write_text(file, "old")
    with pytest.raises(error):
        write_half(file, error)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_unwritten_draft_replaces_nothing(tmp_path):
    file = tmp_path / "a.txt"
    atomic_write_text(file, "old")
    with pytest.raises(FileNotFoundError), atomic_write(file):
        pass
    assert file.read_text() == "old"


def test_unwritable_folder_raises(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        atomic_write_text(tmp_path / "file" / "a.txt", "new")
