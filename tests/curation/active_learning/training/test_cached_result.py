import pytest

from curation.active_learning.training.cached_result import atomic_write_text, cached_result


def test_result_is_computed_once_per_identity(tmp_path):
    path, calls = tmp_path / "folder" / "record.json", []

    def compute():
        calls.append(1)
        return {"n": len(calls)}

    assert cached_result(path, "a", compute) == ({"n": 1}, True)
    assert cached_result(path, "a", compute) == ({"n": 1}, False)
    assert cached_result(path, "b", compute) == ({"n": 2}, True)
    assert cached_result(path, "b", compute, outputs=[tmp_path / "gone"]) == ({"n": 3}, True)
    path.write_text("{")
    assert cached_result(path, "b", compute) == ({"n": 4}, True)


def test_failed_computation_removes_earlier_result(tmp_path):
    """An interrupted computation may have replaced only some of the outputs."""
    path = tmp_path / "record.json"
    cached_result(path, "a", lambda: {"n": 1})
    with pytest.raises(ZeroDivisionError):
        cached_result(path, "b", lambda: {"n": 1 // 0})
    assert cached_result(path, "a", lambda: {"n": 2}) == ({"n": 2}, True)


def test_atomic_write_leaves_no_draft(tmp_path):
    for text in ("first", "second"):
        atomic_write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
