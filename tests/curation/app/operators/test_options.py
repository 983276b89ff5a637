import pytest

from curation.app.operators import options
from curation.storage import schema


@pytest.fixture
def filled(dataset):
    import fiftyone as fo

    dataset.add_sample(
        fo.Sample(
            filepath="/a.jpg",
            yolo=fo.Detections(),
            detr=fo.Detections(),
            scene=fo.Classification(label="day"),
            ground_truth=fo.Detections(),
            oracle=fo.Detections(),
            consensus=fo.Detections(),
        )
    )
    return dataset


def test_member_fields_hold_predicted_boxes(filled):
    assert options.member_fields(filled) == ["detr", "yolo"]


def test_adopted_ground_truth_is_not_a_member(filled):
    filled.info[schema.INFO] = {"adopted": {"ground_truth": "detr"}}
    filled.save()
    assert options.member_fields(filled) == ["yolo"]


@pytest.mark.parametrize(
    ("tags", "following", "last"),
    [
        pytest.param([], 1, 1, id="the first"),
        pytest.param(["round-01", "arm:hard"], 2, 1, id="after the first"),
        pytest.param(["round-02"], 1, 2, id="a gap is filled"),
    ],
)
def test_rounds_are_found_by_tags(dataset, tags, following, last):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg", tags=tags))
    assert options.next_round(dataset) == following
    assert options.last_round(dataset) == last


def test_pool_equals_pool_of_stages(dataset):
    import fiftyone as fo

    from curation.storage import queries

    dataset.add_samples(
        [
            fo.Sample(filepath=f"/{split}-{done}.jpg", split=split, labeled_round=done)
            for split in ("train", "val", "test", None)
            for done in (None, 0, 2)
        ]
    )
    mine, theirs = options.pool(dataset), queries.pool(dataset)
    assert mine.values("filepath") == theirs.values("filepath")
    assert len(mine) == 2


def test_default_budget_equals_budget_of_rounds(dataset):
    import fiftyone as fo

    from curation.pipeline import run_round

    assert options.LEAST_BUDGET == run_round.LEAST_BUDGET
    dataset.add_samples([fo.Sample(filepath=f"/{n}.jpg") for n in range(270)])
    assert options.default_budget(dataset) == run_round.resolve_budget(dataset, None) == 27


def test_listing_versions_creates_no_registry(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert options.registered_versions(dataset) == {}
    assert list(tmp_path.iterdir()) == []
