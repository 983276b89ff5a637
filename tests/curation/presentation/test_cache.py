import fiftyone as fo
import pytest

from curation.presentation import cache


@pytest.fixture
def three(dataset):
    dataset.add_samples([fo.Sample(filepath=f"/{i}.jpg", n=i) for i in range(3)])
    return dataset


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self, dataset):
        self.calls += 1
        return {"sum": dataset.sum("n")}


def test_figures_are_counted_once_as_long_as_nothing_changes(three):
    count = Counter()
    first = cache.figures(three, "x", count)
    again = cache.figures(three, "x", count)
    assert (first.content, again.content, count.calls) == ({"sum": 3}, {"sum": 3}, 1)
    assert not again.stale


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.add_sample(fo.Sample(filepath="/4.jpg", n=9)), id="added"),
        pytest.param(lambda d: d.delete_samples([d.first().id]), id="removed"),
        pytest.param(lambda d: d.set_values("n", [7, 7, 7]), id="changed"),
    ],
)
def test_a_sample_that_was(three, change):
    count = Counter()
    cache.figures(three, "x", count)
    change(three)
    assert cache.read(three, "x").stale
    assert cache.figures(three, "x", count).content == {"sum": three.sum("n")}
    assert count.calls == 2


def test_another_basis_makes_them_stale(three):
    cache.keep(three, "x", Counter(), basis="umap of today")
    assert not cache.read(three, "x", basis="umap of today").stale
    assert cache.read(three, "x", basis="umap of tomorrow").stale


def test_a_large_dataset_is_counted_only_when_asked(three, monkeypatch):
    monkeypatch.setattr(cache, "LIVE", 2)
    count = Counter()
    assert cache.figures(three, "x", count) is None
    cache.keep(three, "x", count)
    three.set_values("n", [5, 5, 5])
    old = cache.figures(three, "x", count)
    assert (old.content, old.stale, count.calls) == ({"sum": 3}, True, 1)


def test_a_sample_that_changes_while_it_is_counted_makes_them_stale(three):
    def count(dataset):
        dataset.set_values("n", [1, 1, 1])
        return {}

    cache.keep(three, "x", count)
    assert cache.read(three, "x").stale


def test_figures_go_with_their_dataset(database):
    first = fo.Dataset("gone-soon")
    first.add_sample(fo.Sample(filepath="/a.jpg", n=1))
    cache.keep(first, "x", Counter())
    first.delete()
    second = fo.Dataset("gone-soon")
    try:
        assert cache.read(second, "x") is None
    finally:
        second.delete()


def test_an_empty_dataset_has_no_newest_sample(dataset):
    assert (cache.size(dataset), cache.newest(dataset)) == (0, "")
