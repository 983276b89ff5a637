import numpy as np
import pytest

from curation.errors import StageError, StoreError
from curation.storage.embeddings.table import VectorTable

THREE = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)


@pytest.fixture
def table(tmp_path):
    table_ = VectorTable(tmp_path / "new" / "vectors", "f" * 16)
    table_.add(["a", "b", "c"], THREE)
    return table_


def test_vectors_follow_requested_order(table):
    vectors = table.read(["c", "a", "c"])
    np.testing.assert_array_equal(vectors, THREE[[2, 0, 2]])
    assert vectors.dtype == np.float32
    assert table.ids() == {"a", "b", "c"}


def test_second_write_replaces_vector(table):
    table.add(["b", "d"], np.array([[0.8, 0.6], [-1, 0]], np.float32))
    assert table.ids() == {"a", "b", "c", "d"}
    np.testing.assert_array_equal(
        table.read(["a", "b", "d"]), np.array([[1, 0], [0.8, 0.6], [-1, 0]], np.float32)
    )


def test_many_small_writes(tmp_path):
    table = VectorTable(tmp_path, "0" * 16)
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    names = [f"id{i}" for i in range(60)]
    for start in range(0, 60, 7):
        table.add(names[start : start + 7], vectors[start : start + 7])
    np.testing.assert_array_equal(table.read(names), vectors)
    assert table.ids() == set(names)


def test_reopened_table_has_written_vectors(table, tmp_path):
    reopened = VectorTable(tmp_path / "new" / "vectors", "f" * 16)
    np.testing.assert_array_equal(reopened.read(["b"]), THREE[[1]])


def test_embedders_have_separate_tables(table, tmp_path):
    other = VectorTable(tmp_path / "new" / "vectors", "0" * 16)
    assert other.ids() == set()
    other.add(["a"], np.ones((1, 5), np.float32))
    assert other.read(["a"]).shape == (1, 5)
    assert table.read(["a"]).shape == (1, 2)


def test_no_ids(table, tmp_path):
    assert len(table.read([])) == 0
    assert len(VectorTable(tmp_path / "none", "f" * 16).read([])) == 0
    table.add([], np.zeros((0,), np.float32))
    assert len(table.ids()) == 3


def test_missing_table_is_refused_on_read(tmp_path):
    empty = VectorTable(tmp_path, "f" * 16)
    assert empty.ids() == set()
    with pytest.raises(StageError, match=r"has no embeddings. Run `curate embed` first"):
        empty.read(["a"])


def test_samples_without_vector_are_counted(table):
    with pytest.raises(StageError, match="2 of 3 samples have no embedding, starting with x"):
        table.read(["a", "x", "y"])


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    table = VectorTable(tmp_path / "file" / "vectors", "f" * 16)
    with pytest.raises(StoreError, match=r"Cannot store embeddings in .*file/vectors.*Make room"):
        table.add(["a"], THREE[:1])
