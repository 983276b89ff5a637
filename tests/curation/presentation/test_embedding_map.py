import fiftyone as fo
import fiftyone.brain as fob
import numpy as np
import pytest

from curation.presentation import embedding_map


@pytest.fixture
def placed(dataset):
    dataset.add_samples([fo.Sample(filepath=f"/{i}.jpg") for i in range(30)])
    dataset.add_sample_field("hardness", fo.FloatField)
    dataset.set_values("hardness", [None, *np.linspace(0, 1, 29).tolist()])
    points = np.random.default_rng(0).normal(size=(30, 2))
    fob.compute_visualization(
        dataset, points=points, brain_key="umap", method="manual", verbose=False
    )
    return dataset


def test_few_samples_have_their_own_cells(placed):
    cells, _ = embedding_map.read_map(placed)
    assert cells.n.tolist() == [1] * 30
    assert cells.sample_ids([3, 5]) == [placed.values("id")[i] for i in (3, 5)]
    assert np.isnan(cells.hardness[0])
    assert cells.hardness[1:] == pytest.approx(np.linspace(0, 1, 29))


def test_many_samples_share_cells():
    xy = np.random.default_rng(0).normal(size=(5000, 2))
    order, starts = embedding_map.group_into_cells(xy, max_cells=100)
    assert sorted(order) == list(range(5000))
    assert len(starts) < 4500
    ends = np.append(starts[1:], 5000)
    for begin, end in zip(starts[:50], ends[:50], strict=True):
        spread = np.ptp(xy[order[begin:end]], axis=0)
        assert (spread <= np.ptp(xy, axis=0).max() / 90 + 1e-9).all()


def test_equal_points_are_one_cell():
    order, starts = embedding_map.group_into_cells(np.zeros((10, 2)), max_cells=5)
    assert (len(order), starts.tolist()) == (10, [0])


def test_cells_contain_every_sample_once(placed, monkeypatch):
    monkeypatch.setattr(embedding_map, "MAX_CELLS", 5)
    monkeypatch.setattr(embedding_map.group_into_cells, "__kwdefaults__", {"max_cells": 5})
    monkeypatch.setattr(embedding_map, "_SIDE", 2)
    cells, _ = embedding_map.read_map(placed)
    assert len(cells) < 30
    everything = cells.sample_ids(range(len(cells)))
    assert sorted(everything) == sorted(placed.values("id"))


def test_deleted_samples_are_left_out(placed):
    placed.delete_samples([placed.first().id])
    assert embedding_map.read_map(placed)[0].samples == 29


def test_dataset_without_embedding_has_no_map(dataset):
    dataset.add_sample(fo.Sample(filepath="/a.jpg"))
    assert embedding_map.read_map(dataset) is None
