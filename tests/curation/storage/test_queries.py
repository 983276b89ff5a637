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
# split, labeled_round (None: not labeled), drive, tallest cone (0: none)
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
def made(dataset, tmp_path):
    """Return the dataset of `ROWS`, and its ids in that order."""
    import fiftyone as fo

    schema.declare(dataset, ROADWORK)
    dataset.info[schema.INFO] = {"taxonomy": taxonomy.to_yaml(ROADWORK)}
    for i, (split, _, drive, _) in enumerate(ROWS):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (64, 48)).save(path)
        dataset.add_sample(fo.Sample(filepath=str(path), split=split, drive=drive))
    ids, _ = collection.ids_and_paths(dataset)
    for one, (_, number, _, height) in zip(ids, ROWS, strict=True):
        if number is not None:
            writer.write_ground_truth(dataset, {one: cone(height)}, labeled_round=number)
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


def rows(made, view):
    """Return the numbers of the rows of a view."""
    _, ids = made
    return sorted(ids.index(one) for one in view.values("id"))


def test_the_pool_is_what_is_unlabeled_and_not_frozen(made):
    dataset, ids = made
    assert rows(made, queries.pool(dataset)) == [0, 3]
    assert rows(made, queries.pool(dataset.select(ids[3:]))) == [3]


def test_labeled_samples_are_those_of_their_split(made):
    assert rows(made, queries.labeled(made[0], "train")) == [1, 2]
    assert rows(made, queries.labeled(made[0], "test")) == [6, 7, 8]


def test_of_a_dataset_of_somebody_else_all_is_the_pool_and_nothing_is_labeled(dataset):
    import fiftyone as fo

    dataset.add_sample(fo.Sample(filepath="/a.jpg", ground_truth=fo.Detections(detections=[])))
    assert len(queries.pool(dataset)) == 1
    assert len(queries.labeled(dataset, "train")) == 0


def test_the_frozen_set_holds_no_sample_that_a_round_chose(made):
    dataset, ids = made
    frozen = frozen_set(dataset, "test", ROADWORK)
    assert frozen.ids == (ids[6], ids[7])
    assert frozen.split == "test"
    assert frozen.sizes_px.tolist() == [[48, 64], [48, 64]]
    assert [one.labels for one in frozen.truths] == [["cone"], []]
    assert frozen.decisions(ROADWORK).tolist() == [True, False]


def test_an_image_without_a_drive_is_a_drive_of_its_own(made):
    frozen = frozen_set(made[0], "test", ROADWORK)
    assert frozen.drives == (frozen.paths[0], "d")


def test_the_slices_of_a_frozen_set_come_from_conditions_light_and_size(scenes):
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
    assert by_light.sum() > 0, "the mean luminance stands in"


@pytest.mark.parametrize(("n", "enough"), [(10, True), (9, False), (0, False)])
def test_calibrating_takes_ten_images_whatever_they_show(n, enough):
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


def test_a_batch_is_tagged_in_its_order(made):
    dataset, ids = made
    schema.declare_choice(dataset)
    dataset.select(ids[3]).tag_samples("mine")
    queries.tag_batch(dataset, "round-01", [ids[3], ids[0]], ["hard", "random"], ["x", "y"])
    dataset.reload()
    assert dataset[ids[3]].tags == ["mine", "round-01", "arm:hard"]
    assert dataset[ids[0]].tags == ["round-01", "arm:random"]
    assert [dataset[one].rank for one in (ids[3], ids[0])] == [1, 2]
    assert dataset[ids[0]].chosen_because == "y"


def test_what_an_earlier_try_left_is_removed(made):
    dataset, ids = made
    schema.declare_choice(dataset)
    queries.tag_batch(dataset, "round-01", [ids[3], ids[0]], ["hard", "random"], ["x", "y"])
    queries.tag_batch(dataset, "round-01", [ids[0]], ["coverage"], ["z"])
    dataset.reload()
    assert (dataset[ids[3]].tags, dataset[ids[3]].rank) == ([], None)
    assert dataset[ids[3]].chosen_because is None
    assert (dataset[ids[0]].tags, dataset[ids[0]].rank) == (["round-01", "arm:coverage"], 1)


def test_what_another_round_chose_is_claimed_and_a_tag_of_ones_own_is_not(made):
    dataset, ids = made
    dataset.select(ids[0]).tag_samples("round-02")
    dataset.select(ids[3]).tag_samples("round-trip")
    pool = queries.pool(dataset)
    assert rows(made, queries.exclude_other_rounds(pool, "round-01")) == [3]
    assert rows(made, queries.exclude_other_rounds(pool, "round-02")) == [0, 3]


def test_facts_are_remembered_as_plain_values(made):
    import fiftyone as fo

    dataset, _ = made
    queries.write_info(dataset, "chosen round-01", {"arms": {"hard": 3}, "advice": ("a", "b")})
    queries.write_info(dataset, "other", {})
    again = fo.load_dataset(dataset.name)
    again.reload()
    found = queries.read_info(again, "chosen round-01")
    assert found == {"arms": {"hard": 3}, "advice": ["a", "b"]}
    assert (type(found), type(found["arms"]), type(found["advice"])) == (dict, dict, list)
    assert json.dumps(found)
    assert queries.read_info(again, "never") is None
    assert queries.taxonomy_of(again) == ROADWORK, "what was there stays"


def test_a_dataset_is_found_by_its_name_or_the_nearest_is_named(made):
    dataset, _ = made
    assert queries.load_dataset(dataset.name) is dataset
    assert queries.has_dataset(dataset.name)
    assert not queries.has_dataset("nobody")
    with pytest.raises(DatasetError, match=r"No dataset is named .*Did you mean .*curate ingest"):
        queries.load_dataset(dataset.name + "x")


def test_a_view_knows_its_dataset_and_taxonomy(made):
    dataset, _ = made
    view = dataset.limit(2)
    assert dataset_of(view) is dataset
    assert dataset_of(dataset) is dataset
    assert queries.taxonomy_of(view) == ROADWORK


def test_a_dataset_of_somebody_else_has_no_taxonomy(dataset):
    assert queries.taxonomy_of(dataset) is None


def stock(dataset, **labels):
    """Add one sample whose fields hold boxes of these labels."""
    import fiftyone as fo

    boxes = {
        name: fo.Detections(
            detections=[
                fo.Detection(label=one, bounding_box=[0.1, 0.1, 0.2, 0.2], confidence=0.5)
                for one in found
            ]
        )
        for name, found in labels.items()
    }
    dataset.add_sample(fo.Sample(filepath="/a.jpg", **boxes))


def test_each_label_means_itself_however_it_is_spelled(dataset):
    stock(dataset, a=["Traffic Cone", "dog"], b=["traffic-cone", "DOG", "7"])
    own = queries.taxonomy_from_fields(dataset, ["a", "b"])
    assert len(own.names) == 3
    assert own.canonical("traffic_cone") == own.canonical("TRAFFIC CONE") is not None
    assert own.deciding == own.names


def test_fields_without_any_box_have_nothing_to_compare(dataset):
    stock(dataset, a=[], b=[])
    with pytest.raises(StageError, match="The fields a, b hold no boxes at all"):
        queries.taxonomy_from_fields(dataset, ["a", "b"])


def test_a_field_that_is_not_there_is_named(dataset):
    stock(dataset, yolo=["dog"])
    with pytest.raises(StoreError, match=r"no field 'yolo8'. Did you mean 'yolo'\?"):
        queries.taxonomy_from_fields(dataset, ["yolo8"])


def test_an_empty_pool_is_refused_with_what_to_do(dataset):
    with pytest.raises(StageError, match=r"'mine' has no unlabeled sample.*Ingest unlabeled"):
        queries.require_pool(dataset.view(), "mine")
