from datetime import UTC, datetime, timedelta

import fiftyone as fo
import pytest

from curation.presentation import cache
from curation.presentation.cache import CachedFigures


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


def test_unchanged_figures_are_counted_once(three):
    count = Counter()
    first = cache.get(three, "x", count)
    again = cache.get(three, "x", count)
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
def test_change_of_a_sample_recounts(three, change):
    count = Counter()
    cache.get(three, "x", count)
    change(three)
    assert cache.read(three, "x").stale
    assert cache.get(three, "x", count).content == {"sum": three.sum("n")}
    assert count.calls == 2


def test_other_basis_makes_figures_stale(three):
    cache.update(three, "x", Counter(), basis="umap of today")
    assert not cache.read(three, "x", basis="umap of today").stale
    assert cache.read(three, "x", basis="umap of tomorrow").stale


def test_large_dataset_is_counted_by_update_only(three, monkeypatch):
    monkeypatch.setattr(cache, "MAX_LIVE_SAMPLES", 2)
    count = Counter()
    assert cache.get(three, "x", count) is None
    cache.update(three, "x", count)
    three.set_values("n", [5, 5, 5])
    old = cache.get(three, "x", count)
    assert (old.content, old.stale, count.calls) == ({"sum": 3}, True, 1)


def test_change_during_counting_makes_figures_stale(three):
    def count(dataset):
        dataset.set_values("n", [1, 1, 1])
        return {}

    cache.update(three, "x", count)
    assert cache.read(three, "x").stale


def test_figures_are_deleted_with_their_dataset(database):
    first = fo.Dataset("gone-soon")
    first.add_sample(fo.Sample(filepath="/a.jpg", n=1))
    cache.update(first, "x", Counter())
    first.delete()
    second = fo.Dataset("gone-soon")
    try:
        assert cache.read(second, "x") is None
    finally:
        second.delete()


def test_empty_dataset_has_no_newest_sample(dataset):
    assert (cache.size(dataset), cache.newest(dataset)) == (0, "")


@pytest.mark.parametrize(
    ("stale", "expected"),
    [
        pytest.param(
            False, "Counted 3\u00a0minutes\u00a0ago (in 1.5 s); up to date.", id="current"
        ),
        pytest.param(
            True,
            "Counted 3\u00a0minutes\u00a0ago (in 1.5 s); **samples have changed since**.",
            id="stale",
        ),
    ],
)
def test_description_of_age(stale, expected):
    now = datetime(2026, 1, 2, 12, tzinfo=UTC)
    figures = CachedFigures({}, now - timedelta(minutes=3), seconds=1.5, stale=stale)
    assert figures.describe_age(now=now) == expected
