import json

import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy
from cascade.predictions import Detections
from curation.active_learning.evaluation.frozen_set import FrozenSet, frozen_set
from curation.errors import DatasetError, StageError, StoreError
from curation.storage import collection, queries, schema, writer
from curation.storage.collection import dataset_of

ROADWORK = taxonomy.load("roadwork")
# split, labeled_round (None: unlabeled), drive, height of the cone (0: no cone)
ROWS = [
    ("train", None, "a", 0),
    ("train", 0, "a", 0.3),
    ("train", 1, "b", 0.3),
    (None, None, "b", 0),
    ("val", None, "c", 0),
    ("val", 0, "c", 0.1),
    ("test", 0, None, 0.25),
    ("test", 0, "d", 0),
    ("test", 2, "d", 0.5),
    ("test", None, "d", 0),
]


@pytest.fixture
def labeled_dataset(dataset, tmp_path):
    """Return the dataset of `ROWS`, and its ids in that order."""
    import fiftyone as fo

    schema.declare(dataset, ROADWORK)
    dataset.info[schema.INFO] = {"taxonomy": ROADWORK.to_yaml()}
    for i, (split, _, drive, _) in enumerate(ROWS):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (64, 48)).save(path)
        dataset.add_sample(fo.Sample(filepath=str(path), split=split, drive=drive))
    ids, _ = collection.ids_and_paths(dataset)
    for sample_id, (_, number, _, height) in zip(ids, ROWS, strict=True):
        if number is not None:
            writer.write_ground_truth(dataset, {sample_id: cone(height)}, labeled_round=number)
    dataset.reload()
    return dataset, ids


def cone(height):
    n = int(height > 0)
    return Detections(
        boxes_xyxy=np.array([[0.1, 0.2, 0.3, 0.2 + height]] * n, np.float32).reshape(-1, 4),
        scores=np.ones(n, np.float32),
        class_ids=np.zeros(n, np.int64),
        classes=("cone",),
    )


def rows(labeled_dataset, view):
    """Return the row numbers of a view."""
    _, ids = labeled_dataset
    return sorted(ids.index(sample_id) for sample_id in view.values("id"))


def test_pool_is_unlabeled_and_not_frozen(labeled_dataset):
    dataset, ids = labeled_dataset
    assert rows(labeled_dataset, queries.pool(dataset)) == [0, 3]
    assert rows(labeled_dataset, queries.pool(dataset.select(ids[3:]))) == [3]


def test_labeled_samples_by_split(labeled_dataset):
    assert rows(labeled_dataset, queries.labeled(labeled_dataset[0], "train")) == [1, 2]
    assert rows(labeled_dataset, queries.labeled(labeled_dataset[0], "test")) == [6, 7, 8]


def test_foreign_dataset_is_all_pool(dataset):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg", ground_truth=fo.Detections(detections=[])))
    assert len(queries.pool(dataset)) == 1
    assert len(queries.labeled(dataset, "train")) == 0


def test_frozen_set_has_no_samples_of_rounds(labeled_dataset):
    dataset, ids = labeled_dataset
    frozen = frozen_set(dataset, "test", ROADWORK)
    assert frozen.ids == (ids[6], ids[7])
    assert frozen.split == "test"
    assert frozen.sizes_px.tolist() == [[48, 64], [48, 64]]
    assert [truth.labels for truth in frozen.truths] == [["cone"], []]
    assert frozen.decisions(ROADWORK).tolist() == [True, False]


def test_image_without_drive_forms_separate_drive(labeled_dataset):
    frozen = frozen_set(labeled_dataset[0], "test", ROADWORK)
    assert frozen.drives == (frozen.paths[0], "d")


def test_frozen_set_has_slices_by_condition_and_luminance(scenes):
    frozen = frozen_set(scenes, "val", ROADWORK)
    assert len(frozen) == 17
    assert {"time_of_day=night", "weather=fog"} <= set(frozen.slices)
    night = frozen.slices["time_of_day=night"]
    assert night.sum() == 11  # drive 4, as it was rendered
    assert {drive for drive, dark in zip(frozen.drives, night, strict=True) if dark} == {
        "drive0004"
    }
    scenes.set_values(schema.TIME_OF_DAY, [None] * 70)
    by_light = frozen_set(scenes, "val", ROADWORK).slices["time_of_day=night"]
    assert by_light.sum() > 0, "mean luminance replaces unknown times"


@pytest.mark.parametrize(("n", "enough"), [(10, True), (9, False), (0, False)])
def test_calibration_needs_ten_images(n, enough):
    frozen = FrozenSet(
        split="val",
        ids=("",) * n,
        paths=("",) * n,
        drives=("",) * n,
        sizes_px=np.ones((n, 2), np.int64),
        truths=(cone(0.2),) * n,
        slices={},
    )
    assert frozen.can_calibrate is enough


def test_tag_batch_sets_tags_and_ranks(labeled_dataset):
    dataset, ids = labeled_dataset
    schema.declare_choice(dataset)
    dataset.select(ids[3]).tag_samples("mine")
    queries.tag_batch(dataset, "round-01", [ids[3], ids[0]], ["hard", "random"], ["x", "y"])
    dataset.reload()
    assert dataset[ids[3]].tags == ["mine", "round-01", "arm:hard"]
    assert dataset[ids[0]].tags == ["round-01", "arm:random"]
    assert [dataset[sample_id].rank for sample_id in (ids[3], ids[0])] == [1, 2]
    assert dataset[ids[0]].chosen_because == "y"


def test_tag_batch_clears_earlier_batch(labeled_dataset):
    dataset, ids = labeled_dataset
    schema.declare_choice(dataset)
    queries.tag_batch(dataset, "round-01", [ids[3], ids[0]], ["hard", "random"], ["x", "y"])
    queries.tag_batch(dataset, "round-01", [ids[0]], ["coverage"], ["z"])
    dataset.reload()
    assert (dataset[ids[3]].tags, dataset[ids[3]].rank) == ([], None)
    assert dataset[ids[3]].chosen_because is None
    assert (dataset[ids[0]].tags, dataset[ids[0]].rank) == (["round-01", "arm:coverage"], 1)


def test_samples_of_other_rounds_are_excluded(labeled_dataset):
    dataset, ids = labeled_dataset
    dataset.select(ids[0]).tag_samples("round-02")
    dataset.select(ids[3]).tag_samples("round-trip")
    pool = queries.pool(dataset)
    assert rows(labeled_dataset, queries.exclude_other_rounds(pool, "round-01")) == [3]
    assert rows(labeled_dataset, queries.exclude_other_rounds(pool, "round-02")) == [0, 3]


def test_info_round_trips_as_plain_values(labeled_dataset):
    import fiftyone as fo

    dataset, _ = labeled_dataset
    queries.write_info(dataset, "chosen round-01", {"arms": {"hard": 3}, "advice": ("a", "b")})
    queries.write_info(dataset, "other", {})
    reloaded = fo.load_dataset(dataset.name)
    reloaded.reload()
    info = queries.read_info(reloaded, "chosen round-01")
    assert info == {"arms": {"hard": 3}, "advice": ["a", "b"]}
    assert (type(info), type(info["arms"]), type(info["advice"])) == (dict, dict, list)
    assert json.dumps(info)
    assert queries.read_info(reloaded, "never") is None
    assert queries.taxonomy_of(reloaded) == ROADWORK, "other values stay"


def test_load_dataset_suggests_similar_name(labeled_dataset):
    dataset, _ = labeled_dataset
    assert queries.load_dataset(dataset.name) is dataset
    assert queries.has_dataset(dataset.name)
    assert not queries.has_dataset("unknown")
    with pytest.raises(DatasetError, match=r"No dataset is named .*Did you mean .*curate ingest"):
        queries.load_dataset(dataset.name + "x")


def test_view_has_dataset_and_taxonomy(labeled_dataset):
    dataset, _ = labeled_dataset
    view = dataset.limit(2)
    assert dataset_of(view) is dataset
    assert dataset_of(dataset) is dataset
    assert queries.taxonomy_of(view) == ROADWORK


def test_foreign_dataset_has_no_taxonomy(dataset):
    assert queries.taxonomy_of(dataset) is None


def add_labels(dataset, **labels):
    """Add a sample with boxes of these labels in its fields."""
    import fiftyone as fo

    boxes = {
        name: fo.Detections(
            detections=[
                fo.Detection(label=label, bounding_box=[0.1, 0.1, 0.2, 0.2], confidence=0.5)
                for label in labels_
            ]
        )
        for name, labels_ in labels.items()
    }
    dataset.add_sample(fo.Sample(filepath="/a.jpg", **boxes))


def test_taxonomy_from_fields_folds_spelling(dataset):
    add_labels(dataset, a=["Traffic Cone", "dog"], b=["traffic-cone", "DOG", "7"])
    taxonomy_ = queries.taxonomy_from_fields(dataset, ["a", "b"])
    assert len(taxonomy_.names) == 3
    assert taxonomy_.canonical("traffic_cone") == taxonomy_.canonical("TRAFFIC CONE") is not None
    assert taxonomy_.deciding == taxonomy_.names


def test_taxonomy_from_fields_without_boxes_is_refused(dataset):
    add_labels(dataset, a=[], b=[])
    with pytest.raises(StageError, match="Cannot compare the fields a, b: they have no boxes"):
        queries.taxonomy_from_fields(dataset, ["a", "b"])


def test_taxonomy_from_missing_field_is_refused(dataset):
    add_labels(dataset, yolo=["dog"])
    with pytest.raises(StoreError, match=r"no field 'yolo8'. Did you mean 'yolo'\?"):
        queries.taxonomy_from_fields(dataset, ["yolo8"])


def test_empty_pool_is_refused(dataset):
    with pytest.raises(StageError, match=r"'mine' has no unlabeled sample.*Ingest unlabeled"):
        queries.require_pool(dataset.view(), "mine")
