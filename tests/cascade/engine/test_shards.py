import pytest

from cascade.engine.shards import Leases, ShardError, cut


def leases(n=3):
    ids = [str(i) for i in range(2 * n)]
    return Leases.of(cut(ids, ids, 2))


def test_a_cut_keeps_the_order_and_the_last_shard_may_be_short():
    found = cut(list("abcde"), list("ABCDE"), 2)
    assert [(one.number, "".join(one.ids), "".join(one.paths)) for one in found] == [
        (0, "ab", "AB"),
        (1, "cd", "CD"),
        (2, "e", "E"),
    ]
    assert cut([], [], 4) == []


def test_shards_are_leased_once_and_in_order():
    mine = leases()
    assert [mine.take(who).number for who in ("a", "b", "a")] == [0, 1, 2]
    assert mine.take("b") is None
    assert not mine.is_finished
    assert all(mine.finish(who, number) for who, number in (("a", 0), ("b", 1), ("a", 2)))
    assert mine.is_finished


def test_what_a_dead_worker_had_is_next_and_in_its_order():
    mine = leases(4)
    for _ in range(2):
        mine.take("dead")
    mine.finish("dead", 0)
    mine.take("dead")
    assert [one.number for one in mine.lose("dead")] == [1, 2]
    assert [mine.take("other").number for _ in range(3)] == [1, 2, 3]


def test_who_comes_back_late_is_told_so():
    mine = leases(1)
    mine.take("slow")
    mine.lose("slow")
    mine.take("other")
    assert not mine.finish("slow", 0)
    assert not mine.is_finished
    assert mine.finish("other", 0)
    assert mine.is_finished


def test_a_shard_that_every_worker_dies_of_stops_the_run():
    mine = leases(1)
    for worker in "ab":
        mine.take(worker)
        mine.lose(worker)
    mine.take("c")
    with pytest.raises(ShardError, match="3 worker processes died over the 2 images from 0 on"):
        mine.lose("c")
