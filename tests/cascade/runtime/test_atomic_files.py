import pytest

from cascade.runtime.atomic_files import atomic_write, atomic_write_text


def test_a_file_is_replaced_in_one_step_when_the_block_ends(tmp_path):
    file = tmp_path / "new" / "a.txt"
    atomic_write_text(file, "old")
    with atomic_write(file) as draft:
        draft.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert [one.name for one in file.parent.iterdir()] == ["a.txt"]


def write_half(file, error):
    with atomic_write(file) as draft:
        draft.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_breaks_off_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, error):
    file = tmp_path / "a.txt"
    atomic_write_text(file, "old")
    with pytest.raises(error):
        write_half(file, error)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_draft_that_was_never_written_replaces_nothing(tmp_path):
    file = tmp_path / "a.txt"
    atomic_write_text(file, "old")
    with pytest.raises(FileNotFoundError), atomic_write(file):
        pass
    assert file.read_text() == "old"


def test_a_place_that_is_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        atomic_write_text(tmp_path / "file" / "a.txt", "new")
