import numpy as np
import pytest

from curation.errors import StageError, StoreError
from curation.storage.embeddings.table import VectorTable

THREE = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)


@pytest.fixture
def table(tmp_path):
    made = VectorTable(tmp_path / "new" / "vectors", "f" * 16)
    made.add(["a", "b", "c"], THREE)
    return made


def test_vectors_come_back_in_the_order_that_is_asked_for(table):
    found = table.read(["c", "a", "c"])
    np.testing.assert_array_equal(found, THREE[[2, 0, 2]])
    assert found.dtype == np.float32
    assert table.ids() == {"a", "b", "c"}


def test_writing_an_id_again_replaces_its_vector(table):
    table.add(["b", "d"], np.array([[0.8, 0.6], [-1, 0]], np.float32))
    assert table.ids() == {"a", "b", "c", "d"}
    np.testing.assert_array_equal(
        table.read(["a", "b", "d"]), np.array([[1, 0], [0.8, 0.6], [-1, 0]], np.float32)
    )


def test_many_small_writes_are_read_as_one(tmp_path):
    table = VectorTable(tmp_path, "0" * 16)
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    names = [f"id{i}" for i in range(60)]
    for start in range(0, 60, 7):
        table.add(names[start : start + 7], vectors[start : start + 7])
    np.testing.assert_array_equal(table.read(names), vectors)
    assert table.ids() == set(names)


def test_another_process_sees_what_was_written(table, tmp_path):
    again = VectorTable(tmp_path / "new" / "vectors", "f" * 16)
    np.testing.assert_array_equal(again.read(["b"]), THREE[[1]])


def test_vectors_of_two_embedders_never_meet(table, tmp_path):
    other = VectorTable(tmp_path / "new" / "vectors", "0" * 16)
    assert other.ids() == set()
    other.add(["a"], np.ones((1, 5), np.float32))
    assert other.read(["a"]).shape == (1, 5)
    assert table.read(["a"]).shape == (1, 2)


def test_no_ids_no_vectors(table, tmp_path):
    assert len(table.read([])) == 0
    assert len(VectorTable(tmp_path / "none", "f" * 16).read([])) == 0
    table.add([], np.zeros((0,), np.float32))
    assert len(table.ids()) == 3


def test_before_anything_was_embedded_it_says_what_to_run(tmp_path):
    nothing = VectorTable(tmp_path, "f" * 16)
    assert nothing.ids() == set()
    with pytest.raises(StageError, match=r"no embeddings yet. Run `curate embed` first"):
        nothing.read(["a"])


def test_samples_without_a_vector_are_counted_and_the_first_is_named(table):
    with pytest.raises(StageError, match="2 of 3 samples have no embedding, the first is x"):
        table.read(["a", "x", "y"])


def test_a_folder_that_cannot_be_written_to_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    table = VectorTable(tmp_path / "file" / "vectors", "f" * 16)
    with pytest.raises(StoreError, match=r"cannot be stored in .*file/vectors.*Make room"):
        table.add(["a"], THREE[:1])
