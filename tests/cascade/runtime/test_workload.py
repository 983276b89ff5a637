from cascade.runtime.workload import Workload


def test_large_input_compiles_immediately():
    assert Workload(enough=10).should_compile(10)


def test_small_inputs_compile_once_they_add_up():
    work = Workload(enough=10)
    assert [work.should_compile(4) for _ in range(4)] == [False, False, True, True]
