import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy
from cascade.predictions import Detections
from curation.errors import LabelingError, StageError
from curation.labeling import factory
from curation.labeling.files.backend import FileLabeler
from curation.stages.label import label
from curation.storage import collection, conversions, reader, schema

ROADWORK = taxonomy.load("roadwork")
CONE = ("cone", 0.1, 0.1, 0.3, 0.3)
CAR = ("vehicle", 0.5, 0.5, 0.9, 0.9)


def boxes(*rows):
    return Detections(
        boxes_xyxy=np.array([row[1:] for row in rows], np.float32).reshape(-1, 4),
        scores=np.ones(len(rows), np.float32),
        class_ids=np.array(ROADWORK.ids_of([row[0] for row in rows]), np.int64),
        classes=ROADWORK.names,
    )


@pytest.fixture
def chosen(dataset, tmp_path):
    """Return a dataset whose first four of six samples were chosen in round 1.

    The oracle knows of a cone in the first, nothing in the second, a car in the third, and
    does not know the fourth. The ensemble found the cone, and says yes to every image.
    """
    import fiftyone as fo

    schema.declare(dataset, ROADWORK)
    dataset.info[schema.INFO] = {"taxonomy": ROADWORK.to_yaml()}
    for i in range(6):
        path = tmp_path / f"image{i}.png"
        Image.new("RGB", (64, 48), (i, i, i)).save(path)
        tags = ["round-01", "arm:random" if i % 2 else "arm:hard"] if i < 4 else []
        sample = fo.Sample(filepath=str(path), tags=tags, split="train")
        sample[schema.RANK] = 4 - i
        sample[schema.HARDNESS] = i / 8
        sample["roadwork"] = fo.Classification(label="yes", confidence=0.9)
        dataset.add_sample(sample)
    dataset.compute_metadata(progress=False)
    ids, _ = collection.ids_and_paths(dataset)
    answers = [boxes(CONE), boxes(), boxes(CAR), None, boxes(CONE), boxes(CONE)]
    consensus = conversions.raw_detections(boxes(CONE), scored=True)
    for sample_id, truth in zip(ids, answers, strict=True):
        held_back = None if truth is None else conversions.raw_detections(truth, scored=False)
        collection.write_documents(
            dataset, {sample_id: {schema.ORACLE: held_back, schema.CONSENSUS: consensus}}
        )
    dataset.reload()
    return dataset, ids


def truths(dataset):
    view = dataset.exists(schema.LABELED_ROUND)
    detections = reader.read_detections(view, schema.GROUND_TRUTH, ROADWORK)
    return dict(zip(collection.ids_and_paths(view)[0], detections, strict=True))


def test_oracle_labels_only_chosen_samples(chosen):
    dataset, ids = chosen
    result = label(dataset, 1, factory.oracle(dataset))
    assert (result.chosen, result.labeled, result.waiting, result.new) == (4, 3, 1, 3)
    assert result.boxes == 2
    written = truths(dataset)
    assert list(written) == ids[:3]
    assert [detections.labels for detections in written.values()] == [["cone"], [], ["vehicle"]]
    assert dataset.select(ids[:3]).distinct(schema.LABELED_ROUND) == [1]


def test_label_is_idempotent(chosen):
    dataset, _ = chosen
    first = label(dataset, 1, factory.oracle(dataset))
    before = dataset.values(["id", "ground_truth.detections.id", schema.LABELED_ROUND])
    again = label(dataset, 1, factory.oracle(dataset))
    assert dataset.values(["id", "ground_truth.detections.id", schema.LABELED_ROUND]) == before
    assert again.new == 0
    assert again.dataset_hash == first.dataset_hash
    assert again.failure_yield == first.failure_yield


def test_failure_yield_is_counted_by_arm(chosen):
    dataset, _ = chosen
    result = label(dataset, 1, factory.oracle(dataset))
    hard, random = result.failure_yield["hard"], result.failure_yield["random"]
    # The cone was found, but the car is no road work and no box of it was there.
    assert (hard.n, hard.failures, hard.wrong_decisions, hard.missed, hard.false) == (2, 1, 1, 1, 1)
    # Nothing was there, and a cone was seen.
    assert (random.n, random.failures, random.missed, random.false) == (1, 1, 0, 1)


def test_label_result_is_json_serializable(chosen):
    dataset, _ = chosen
    result = label(dataset, 1, factory.oracle(dataset))
    content = json.loads(json.dumps(asdict(result)))
    assert content["failure_yield"]["hard"]["n"] == 2
    assert content["labeler"] == "oracle"


def test_files_backend_waits_for_answers(chosen, tmp_path):
    dataset, ids = chosen
    files = FileLabeler(tmp_path / "out", taxonomy=ROADWORK, file_format="yolo")
    assert label(dataset, 1, files).waiting == 4
    place = tmp_path / "out" / "round-01"
    with (place / "tasks.csv").open(newline="") as file:
        names = {row["sample_id"]: row["image"] for row in csv.DictReader(file)}
    assert list(names) == ids[3::-1], "by rank"
    stem = names[ids[1]].removesuffix(".png")
    (place / "returned" / f"{stem}.txt").write_text("0 0.25 0.25 0.5 0.5\n")
    result = label(dataset, 1, files)
    assert (result.labeled, result.waiting, result.new) == (1, 3, 1)
    assert truths(dataset)[ids[1]].boxes_xyxy.tolist() == [[0.0, 0.0, 0.5, 0.5]]


def test_doubtful_submission_is_ignored_until_fixed(chosen, tmp_path):
    dataset, ids = chosen
    files = FileLabeler(tmp_path / "out", taxonomy=ROADWORK, file_format="yolo")
    label(dataset, 1, files)
    path = tmp_path / "out" / "round-01" / "returned" / "00001_image3.txt"
    path.write_text("0 0.25 0.25 0.5 0.5\n99 0.5 0.5 0.1 0.1\n")
    result = label(dataset, 1, files)
    assert (result.labeled, result.waiting) == (0, 4)
    assert (result.review[0].sample, result.review[0].what) == (ids[3], "99 0.5 0.5 0.1 0.1")
    path.write_text("0 0.25 0.25 0.5 0.5\n")
    assert label(dataset, 1, files).labeled == 1


def test_submissions_for_other_samples_change_nothing(chosen, tmp_path):
    dataset, _ = chosen
    files = FileLabeler(tmp_path / "out", taxonomy=ROADWORK, file_format="yolo")
    label(dataset, 1, files)
    (tmp_path / "out" / "round-01" / "returned" / "other.txt").write_text("0 .5 .5 .1 .1")
    result = label(dataset, 1, files)
    assert (result.labeled, result.strangers) == (0, ("other.txt",))


def test_round_without_choice_raises(chosen):
    dataset, _ = chosen
    with pytest.raises(StageError, match=r"no sample tagged 'round-02'.*curate choose"):
        label(dataset, 2, factory.oracle(dataset))


def test_frozen_splits_raise(chosen):
    dataset, ids = chosen
    dataset.select(ids[:2]).set_values(schema.SPLIT, ["test", "val"])
    with pytest.raises(StageError, match="2 of 4 samples tagged 'round-01' belong to validation"):
        label(dataset, 1, factory.oracle(dataset))


def test_dataset_without_taxonomy_raises(dataset):
    with pytest.raises(StageError, match="has no taxonomy"):
        label(dataset, 1, labeler=None)


@pytest.mark.parametrize("name", factory.LOCAL_NAMES)
def test_factory_creates_every_backend_without_server(chosen, settings, name):
    dataset, _ = chosen
    labeler = factory.create(name, dataset, settings)
    assert labeler.name == name
    assert labeler.instructions.endswith(".")


def test_unknown_backend_raises(chosen, settings):
    with pytest.raises(LabelingError, match=r"named 'fils'. Did you mean 'files'\?"):
        factory.create("fils", chosen[0], settings)


@pytest.mark.parametrize("name", factory.NAMES)
def test_dataset_without_classes_has_no_backend(dataset, settings, name):
    with pytest.raises(LabelingError, match=r"no taxonomy|no held-back ground truth"):
        factory.create(name, dataset, settings)
