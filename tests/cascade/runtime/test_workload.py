from cascade.runtime.workload import Workload


def test_much_work_pays_at_once():
    assert Workload(enough=10).should_compile(10)


def test_little_work_pays_once_it_has_added_up():
    work = Workload(enough=10)
    assert [work.should_compile(4) for _ in range(4)] == [False, False, True, True]
