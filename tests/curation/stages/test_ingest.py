"""Ingest as a whole: what lies in the dataset afterwards, and that it can be repeated."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from PIL import Image

from cascade import taxonomy
from curation.errors import IngestError
from curation.ingest import validation
from curation.stages import ingest
from curation.storage import schema

ROADWORK = taxonomy.load("roadwork")
NAMES = ("Traffic Cone", "drum", "plant")


@pytest.fixture
def bring(database, settings, request):
    """Ingest into a dataset of this test's own."""
    name = f"ingest {request.node.name}"[:90]

    def call(source, **changes):
        about = {"name": name, "taxonomy": ROADWORK, "settings": settings} | changes
        result = ingest.ingest(source, **about)
        return result, fo.load_dataset(result.dataset)

    yield call
    for made in fo.list_datasets(f"{name[:60]}*"):
        fo.delete_dataset(made)


def picture(path, seed=0, size=(32, 24), exif=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, **({"exif": exif} if exif else {}))
    return path


def yolo(root, **rows):
    """Write a YOLO folder: `train__a="0 .5 .5 1 1"`; None for an image without labels."""
    for seed, (name, text) in enumerate(rows.items()):
        stem = name.replace("__", "/")
        picture(root / "images" / f"{stem}.jpg", seed=seed)
        if text is not None:
            label = root / "labels" / f"{stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
    return root


def by_name(dataset):
    return {Path(sample.filepath).stem: sample for sample in dataset}


def test_image_folder_becomes_pool(bring, tmp_path):
    picture(tmp_path / "a.png", seed=1)
    picture(tmp_path / "b.png", seed=2)
    calls = []
    result, dataset = bring(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert (result.formats, result.added, result.splits) == (("folder",), 2, {"train": 2})
    assert (result.labeled, result.failures, result.warnings) == (0, (), ())
    sample = by_name(dataset)["a"]
    assert sample.content_hash == validation.check_image(tmp_path / "a.png").content_hash
    assert (sample.drive, sample.labeled_round, sample.ground_truth) == ("a", None, None)
    assert (sample.metadata.width, sample.metadata.height) == (32, 24)
    assert 0 < sample.luma < 1
    assert dataset.persistent
    assert calls == [(2, 2)]


def test_labels_become_canonical_ground_truth(bring, tmp_path):
    yolo(tmp_path, train__a="0 .5 .5 .5 .5\n2 .5 .5 1 1", val__b="", test__c="1 .5 .5 1 1")
    result, dataset = bring(tmp_path, names=NAMES)
    assert (result.labeled, result.dropped_labels) == (3, {"plant": 1})
    assert result.warnings == ()
    samples = by_name(dataset)
    box = samples["a"].ground_truth.detections[0]
    assert (box.label, box.bounding_box, box.confidence) == ("cone", [0.25, 0.25, 0.5, 0.5], None)
    assert samples["b"].ground_truth.detections == []
    assert [samples[name].split for name in "abc"] == ["train", "val", "test"]
    assert [samples[name].labeled_round for name in "abc"] == [0, 0, 0]


def test_held_back_labels_are_stored_for_oracle_only(bring, tmp_path):
    yolo(tmp_path, train__a="0 .5 .5 1 1", val__b="0 .5 .5 1 1", test__c="", train__d=None)
    result, dataset = bring(tmp_path, names=NAMES, hold_back=True)
    assert (result.labeled, result.held_back) == (2, 1)
    samples = by_name(dataset)
    assert samples["a"].ground_truth is None
    assert samples["a"].labeled_round is None
    assert [detection.label for detection in samples["a"].oracle.detections] == ["cone"]
    assert samples["b"].oracle is None
    assert samples["d"].oracle is None


def test_second_call_adds_only_new_files(bring, tmp_path):
    yolo(tmp_path, train__a="0 .5 .5 1 1", val__b="", test__c="")
    _, dataset = bring(tmp_path, names=NAMES)
    before = [sample.to_dict() for sample in dataset]
    result, dataset = bring(tmp_path, names=NAMES)
    assert (result.added, result.existing) == (0, 3)
    dataset.reload()
    assert [sample.to_dict() for sample in dataset] == before
    yolo(tmp_path, train__new="1 .5 .5 1 1")
    result, dataset = bring(tmp_path, names=NAMES)
    assert (result.added, result.existing, len(dataset)) == (1, 3, 4)


def test_damaged_files_are_left_out_and_recorded(bring, tmp_path):
    picture(tmp_path / "good.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    half = picture(tmp_path / "half.jpg", seed=3).read_bytes()
    (tmp_path / "half.jpg").write_bytes(half[: len(half) // 2])
    result, dataset = bring(tmp_path)
    assert result.added == 1
    assert {
        Path(problem.filepath).name: problem.message.split(":")[0] for problem in result.failures
    } == {
        "empty.jpg": "has zero bytes",
        "half.jpg": "is damaged",
        "text.jpg": "is not an image in a known format",
    }
    assert dataset.values("filepath") == [str(tmp_path / "good.jpg")]
    on_record = dataset.info[schema.INGEST_INFO]
    assert {entry["filepath"] for entry in on_record} == {
        entry.filepath for entry in result.failures
    }
    assert all(entry["error"] == "ImageError" for entry in on_record)


def test_fixed_file_is_added_and_its_record_removed(bring, tmp_path):
    picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"")
    _, dataset = bring(tmp_path)
    assert len(dataset.info[schema.INGEST_INFO]) == 1
    picture(tmp_path / "b.jpg", seed=5)
    result, dataset = bring(tmp_path)
    assert (result.added, result.failures) == (1, ())
    assert dataset.info[schema.INGEST_INFO] == []


def test_malformed_label_rows_are_recorded_and_image_is_added(bring, tmp_path):
    yolo(tmp_path, train__a="0 .5 .5 1 1\n0 9 9 9 9", val__b="", test__c="")
    result, dataset = bring(tmp_path, names=NAMES)
    (problem,) = result.label_problems
    assert problem.message == "row 2: Coordinates must be in [0, 1], got 9.0 9.0 9.0 9.0"
    sample = by_name(dataset)["a"]
    assert len(sample.ground_truth.detections) == 1
    assert sample.tags == [schema.LABEL_PROBLEM]
    assert dataset.info[schema.INGEST_INFO][0]["error"] == "LabelError"


def test_exact_duplicates_are_tagged_and_reported_across_splits(bring, tmp_path):
    for name in ("train/a", "test/b"):
        picture(tmp_path / f"{name}.jpg", seed=1)
    picture(tmp_path / "train" / "c.jpg", seed=2)
    result, dataset = bring(tmp_path)
    copies = (str(tmp_path / "test/b.jpg"), str(tmp_path / "train/a.jpg"))
    assert result.duplicates == (copies,)
    assert set(dataset.match_tags(schema.DUPLICATE).values("filepath")) == set(copies)
    assert "1 images have an exact copy in another split" in result.warnings[0]


def test_drive_in_two_splits_is_merged(bring, tmp_path):
    yolo(
        tmp_path,
        train__1_jpg_rf_a="", test__1_jpg_rf_b="", val__2_jpg_rf_c="", test__3_jpg_rf_d="",
    )  # fmt: skip
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.txt")]:
        path.rename(path.with_name(path.name.replace("_rf_", ".rf.")))
    result, dataset = bring(tmp_path, names=NAMES)
    assert "1 drives or source photographs were in more than one split" in result.warnings[0]
    assert "1 (train/test)" in result.warnings[0]
    samples = by_name(dataset)
    assert samples["1_jpg.rf.b"].split == "train"
    assert samples["1_jpg.rf.b"].drive == "1"
    assert samples["3_jpg.rf.d"].split == "test"


def test_resplit_keeps_drives_together_including_later_files(bring, tmp_path):
    for drive in range(10):
        for frame in range(3):
            picture(tmp_path / f"d{drive}_{frame}.png", seed=10 * drive + frame)
    result, dataset = bring(tmp_path, resplit=(0.6, 0.2, 0.2), drive_pattern="^(d[0-9]+)_")
    assert result.splits == {"train": 18, "val": 6, "test": 6}
    homes = dict(zip(dataset.values("drive"), dataset.values("split"), strict=True))
    for sample in dataset:
        assert homes[sample.drive] == sample.split
    late = next(drive for drive, split in homes.items() if split == "test")
    picture(tmp_path / f"{late}_9.png", seed=99)
    _, dataset = bring(tmp_path, drive_pattern="^(d[0-9]+)_")
    assert by_name(dataset)[f"{late}_9"].split == "test"


def test_labeled_images_without_splits_are_split_with_warning(bring, tmp_path):
    yolo(tmp_path, **{f"a{i}": "" for i in range(20)})
    result, _ = bring(tmp_path, names=NAMES)
    assert result.splits == {"train": 14, "val": 3, "test": 3}
    assert result.warnings[0].startswith("The source has no splits")


def test_missing_splits_are_reported(bring, tmp_path):
    yolo(tmp_path, train__a="", val__b="")
    result, _ = bring(tmp_path, names=NAMES)
    assert "No image in test is labeled" in result.warnings[0]


def test_labels_outside_taxonomy_are_reported(bring, tmp_path):
    yolo(tmp_path, train__a="2 .5 .5 1 1", val__b="", test__c="")
    result, _ = bring(tmp_path, names=NAMES)
    assert "No label belongs to the taxonomy 'roadwork'" in result.warnings[0]


def coco(root, width, height):
    image = {"id": 1, "file_name": "a.jpg", "width": width, "height": height, "split": "test"}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, width / 2, height / 2]}
    content = {
        "images": [image],
        "annotations": [box],
        "categories": [{"id": 1, "name": "cone"}],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("size", "labeled"),
    [
        pytest.param((24, 32), True, id="drawn on the upright image"),
        pytest.param((240, 320), True, id="drawn on a larger copy"),
        pytest.param((32, 24), False, id="drawn on the image before it was turned"),
    ],
)
def test_labels_for_rotated_image_are_rejected(bring, tmp_path, size, labeled):
    picture(tmp_path / "a.jpg", size=(32, 24), exif=turned())  # upright: 24 wide, 32 high
    result, dataset = bring(coco(tmp_path, *size))
    sample = dataset.first()
    assert (sample.metadata.width, sample.metadata.height) == (24, 32)
    assert result.labeled == labeled
    if labeled:
        assert sample.ground_truth.detections[0].bounding_box == [0, 0, 0.5, 0.5]
    else:
        assert "drawn on 32 x 24 pixels" in result.label_problems[0].message
        assert sample.tags == [schema.LABEL_PROBLEM]


def test_interrupted_ingest_is_completed_by_next_call(bring, tmp_path, monkeypatch):
    yolo(tmp_path, **{f"train__a{i}": "0 .5 .5 1 1" for i in range(5)})
    monkeypatch.setattr(ingest, "BATCH", 2)
    broken = {"left": 1}

    def cut_off(done, total):
        broken["left"] -= 1
        if broken["left"] < 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(tmp_path, names=NAMES, progress=cut_off)
    half = fo.load_dataset(fo.list_datasets("ingest*")[0])
    half.add_sample(fo.Sample(filepath=str(tmp_path / "images/train/a4.jpg")))  # bare: cut off
    result, dataset = bring(tmp_path, names=NAMES)
    assert (result.added, result.existing, len(dataset)) == (1, 4, 5)
    assert all(len(sample.ground_truth.detections) == 1 for sample in dataset)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({}, "contains no images", id="an empty folder"),
        pytest.param({"drive_pattern": "("}, "is not a regular expression", id="a wrong pattern"),
        pytest.param({"split_map": {"x": "dev"}}, "'x' must stand for", id="a strange split"),
    ],
)
def test_invalid_source_raises_before_writing(bring, tmp_path, changes, message):
    with pytest.raises(IngestError, match=message):
        bring(tmp_path, **changes)
    assert fo.list_datasets("ingest test_invalid_source*") == []


def test_other_taxonomy_raises(bring, tmp_path):
    picture(tmp_path / "a.jpg")
    bring(tmp_path)
    with pytest.raises(IngestError, match="was ingested with the taxonomy 'roadwork'"):
        bring(tmp_path, taxonomy=taxonomy.load("construction_site"))


def test_foreign_dataset_is_not_changed(bring, tmp_path, dataset):
    picture(tmp_path / "a.jpg")
    dataset.add_sample(fo.Sample(filepath="/theirs.jpg"))
    with pytest.raises(IngestError, match="was not created by ingesting"):
        bring(tmp_path, name=dataset.name)


# --- real data ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared():
    folder = Path(os.environ.get("CURATION_SHARED", "../shared"))
    if not (folder / "data").is_dir():
        pytest.skip("real data is not here: set CURATION_SHARED to the folder that holds it")
    return folder / "data"


CONES = ("Cone", "bicycle", "car", "cone", "isolation-pile", "plant", "road-cone")


@pytest.mark.slow
def test_synonyms_are_merged_and_photographs_stay_in_one_split(bring, shared):
    result, dataset = bring(shared / "roboflow_traffic_cones", names=CONES)
    assert (result.added, result.labeled, result.failures) == (1100, 1100, ())
    assert result.dropped_labels == {"bicycle": 12, "plant": 6, "isolation-pile": 3}
    assert dataset.count_values("ground_truth.detections.label") == {"cone": 1690, "vehicle": 3}
    assert len(dataset.distinct("drive")) == 389
    assert "8 drives or source photographs were in more than one split" in result.warnings[0]
    assert result.splits == {"train": 1019, "val": 44, "test": 37}


@pytest.mark.slow
def test_dash_cam_frames_and_videos_share_drive(bring, shared):
    result, dataset = bring(shared / "roadwork_clips", drive_pattern="^(.+)_[0-9]+")
    assert result.formats == ("folder", "video")
    assert (result.splits, result.failures) == ({"train": result.added}, ())
    assert len(dataset.distinct("drive")) == 16
    assert len(dataset.exists("time_s")) == result.added - 279
