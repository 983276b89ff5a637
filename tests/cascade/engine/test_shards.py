import pytest

from cascade.engine.shards import Leases, ShardError, split_shards


def leases(n=3):
    ids = [str(i) for i in range(2 * n)]
    return Leases(split_shards(ids, ids, 2))


def test_split_shards_keeps_the_order_and_may_end_with_a_short_shard():
    shards = split_shards(list("abcde"), list("ABCDE"), 2)
    assert [(shard.number, "".join(shard.ids), "".join(shard.paths)) for shard in shards] == [
        (0, "ab", "AB"),
        (1, "cd", "CD"),
        (2, "e", "E"),
    ]
    assert split_shards([], [], 4) == []


def test_shards_are_leased_once_and_in_order():
    table = leases()
    assert [table.lease(worker).number for worker in ("a", "b", "a")] == [0, 1, 2]
    assert table.lease("b") is None
    assert not table.is_finished
    assert all(table.finish(worker, number) for worker, number in (("a", 0), ("b", 1), ("a", 2)))
    assert table.is_finished


def test_shards_of_a_dead_worker_are_leased_next_in_order():
    table = leases(4)
    for _ in range(2):
        table.lease("dead")
    table.finish("dead", 0)
    table.lease("dead")
    assert [shard.number for shard in table.release("dead")] == [1, 2]
    assert [table.lease("other").number for _ in range(3)] == [1, 2, 3]


def test_finish_without_a_lease_returns_false():
    table = leases(1)
    table.lease("slow")
    table.release("slow")
    table.lease("other")
    assert not table.finish("slow", 0)
    assert not table.is_finished
    assert table.finish("other", 0)
    assert table.is_finished


def test_shard_that_kills_every_worker_raises():
    table = leases(1)
    for worker in "ab":
        table.lease(worker)
        table.release(worker)
    table.lease("c")
    with pytest.raises(
        ShardError, match="3 worker processes died while processing the 2 images from 0 on"
    ):
        table.release("c")
