import pytest

from curation.active_learning.training.cached_result import atomic_write_text, cached_result


def test_it_is_done_once_for_all_that_it_depends_on(tmp_path):
    file, done = tmp_path / "folder" / "record.json", []

    def work():
        done.append(1)
        return {"n": len(done)}

    assert cached_result(file, "a", work) == ({"n": 1}, True)
    assert cached_result(file, "a", work) == ({"n": 1}, False)
    assert cached_result(file, "b", work) == ({"n": 2}, True)
    assert cached_result(file, "b", work, outputs=[tmp_path / "gone"]) == ({"n": 3}, True)
    file.write_text("{")
    assert cached_result(file, "b", work) == ({"n": 4}, True)


def test_what_is_replaced_is_no_longer_on_record(tmp_path):
    """Cut off in between, the work may have left half of its own and nothing of the other."""
    file = tmp_path / "record.json"
    cached_result(file, "a", lambda: {"n": 1})
    with pytest.raises(ZeroDivisionError):
        cached_result(file, "b", lambda: {"n": 1 // 0})
    assert cached_result(file, "a", lambda: {"n": 2}) == ({"n": 2}, True)


def test_a_text_is_replaced_and_leaves_no_draft(tmp_path):
    for text in ("first", "second"):
        atomic_write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]
