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


def test_few_samples_are_a_cell_each(placed):
    found, _ = embedding_map.of(placed)
    assert found.n.tolist() == [1] * 30
    assert found.chosen([3, 5]) == [placed.values("id")[i] for i in (3, 5)]
    assert np.isnan(found.hardness[0])
    assert found.hardness[1:] == pytest.approx(np.linspace(0, 1, 29))


def test_many_samples_share_cells_and_none_is_lost():
    xy = np.random.default_rng(0).normal(size=(5000, 2))
    order, starts = embedding_map.cells(xy, most=100)
    assert sorted(order) == list(range(5000))
    assert len(starts) < 4500
    ends = np.append(starts[1:], 5000)
    for begin, end in zip(starts[:50], ends[:50], strict=True):
        spread = np.ptp(xy[order[begin:end]], axis=0)
        assert (spread <= np.ptp(xy, axis=0).max() / 90 + 1e-9).all()


def test_points_on_one_spot_are_one_cell():
    order, starts = embedding_map.cells(np.zeros((10, 2)), most=5)
    assert (len(order), starts.tolist()) == (10, [0])


def test_choosing_a_cell_chooses_all_of_it(placed, monkeypatch):
    monkeypatch.setattr(embedding_map, "MOST_CELLS", 5)
    monkeypatch.setattr(embedding_map.cells, "__kwdefaults__", {"most": 5})
    monkeypatch.setattr(embedding_map, "_SIDE", 2)
    found, _ = embedding_map.of(placed)
    assert len(found) < 30
    everything = found.chosen(range(len(found)))
    assert sorted(everything) == sorted(placed.values("id"))


def test_deleted_samples_are_left_out(placed):
    placed.delete_samples([placed.first().id])
    assert embedding_map.of(placed)[0].samples == 29


def test_without_an_embedding_there_is_no_plane(dataset):
    dataset.add_sample(fo.Sample(filepath="/a.jpg"))
    assert embedding_map.of(dataset) is None
