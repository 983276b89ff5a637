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


def test_members_are_the_fields_with_predicted_boxes(filled):
    assert options.member_fields(filled) == ["detr", "yolo"]


def test_what_was_adopted_as_ground_truth_is_no_member(filled):
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
def test_rounds_are_told_by_tags(dataset, tags, following, last):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg", tags=tags))
    assert options.next_round(dataset) == following
    assert options.last_round(dataset) == last


def test_the_pool_is_the_one_of_the_stages(dataset):
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


def test_the_budget_is_the_one_of_the_rounds(dataset):
    import fiftyone as fo

    from curation.pipeline import run_round

    assert options.LEAST_BUDGET == run_round.LEAST_BUDGET
    dataset.add_samples([fo.Sample(filepath=f"/{n}.jpg") for n in range(270)])
    assert options.budget(dataset) == run_round.budget(dataset, None) == 27


def test_asking_for_versions_makes_no_registry(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert options.versions(dataset) == {}
    assert list(tmp_path.iterdir()) == []
