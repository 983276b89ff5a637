"""Reading of small COCO files with known boxes."""

import json

import pytest
from PIL import Image

from curation.errors import IngestError
from curation.ingest.readers import coco
from curation.ingest.records import ReaderOptions

CATEGORIES = [{"id": 3, "name": "cone"}, {"id": 9, "name": "drum"}]
IMAGE = {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}
BOX = {"id": 5, "image_id": 1, "category_id": 9, "bbox": [50, 25, 100, 50]}


def put(root, *, images=(IMAGE,), annotations=(BOX,), name="annotations.json", folder="."):
    content = {"images": list(images), "categories": CATEGORIES}
    if annotations is not None:
        content["annotations"] = list(annotations)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(content))
    for image in images:
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 2)).save(root / folder / image["file_name"])
    return root


def read(root, tmp_path=None):
    return coco.read(root, ReaderOptions(names=None, frames=root))


def test_box_is_relative_with_label_and_size(tmp_path):
    (record,) = read(put(tmp_path)).records
    assert record.path == tmp_path / "a.jpg"
    assert record.boxes.labels == ["drum"]
    assert record.boxes.boxes_xyxy.tolist() == [[0.25, 0.25, 0.75, 0.75]]
    assert record.labeled_size_px == (100, 200)


def test_extra_keys_of_our_export_are_read(tmp_path):
    extra = {
        "drive": "d1", "time_s": 2, "split": "valid", "time_of_day": "night", "weather": "rain",
    }  # fmt: skip
    (record,) = read(put(tmp_path, images=[{**IMAGE, **extra}])).records
    assert (record.drive, record.time_s, record.split) == ("d1", 2.0, "val")
    assert (record.time_of_day, record.weather) == ("night", "rain")


def test_unknown_split_is_rejected(tmp_path):
    with pytest.raises(IngestError, match=r"split of a\.jpg must be train, val or test, got 'dev'"):
        read(put(tmp_path, images=[{**IMAGE, "split": "dev"}]))


@pytest.mark.parametrize(
    ("name", "folder", "split"),
    [
        pytest.param("annotations.json", "images", None, id="images in a separate folder"),
        pytest.param(
            "annotations/instances_val2017.json", "val2017", "val", id="the original COCO layout"
        ),
        pytest.param("valid/_annotations.coco.json", "valid", "val", id="Roboflow's export"),
        pytest.param("annotations/train.json", "images", "train", id="the file names the split"),
    ],
)
def test_common_layouts_are_found(tmp_path, name, folder, split):
    (record,) = read(put(tmp_path, name=name, folder=folder)).records
    assert (record.path, record.split) == (tmp_path / folder / "a.jpg", split)


def test_single_file_is_read(tmp_path):
    put(tmp_path, name="annotations/train.json", folder="images")
    (record,) = read(tmp_path / "annotations" / "train.json").records
    assert record.path == tmp_path / "images" / "a.jpg"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"bbox": [1, 2, 3]}, "bbox must be four numbers", id="three numbers"),
        pytest.param({"bbox": None}, "bbox must be four numbers", id="no box"),
        pytest.param({"bbox": [1, 2, 0, 3]}, "The box must have extent", id="no width"),
        pytest.param({"bbox": [1, 2, 5, float("nan")]}, "The box must have extent", id="NaN"),
        pytest.param(
            {"category_id": 4}, "The file does not define category 4", id="no such category"
        ),
        pytest.param({"iscrowd": 1}, "A crowd is not a single object", id="a crowd"),
    ],
)
def test_malformed_annotation_is_left_out_with_reason(tmp_path, change, reason):
    result = read(put(tmp_path, annotations=[BOX, {**BOX, "id": 6, **change}]))
    assert result.records[0].boxes.labels == ["drum"]
    assert result.label_problems[0].message.startswith(f"annotation 6: {reason}")


def test_empty_annotations_mean_nothing_there_and_missing_key_unlabeled(tmp_path):
    assert len(read(put(tmp_path / "a", annotations=[])).records[0].boxes) == 0
    assert read(put(tmp_path / "b", annotations=None)).records[0].boxes is None


def test_unlisted_images_are_unlabeled(tmp_path):
    put(tmp_path)
    Image.new("RGB", (4, 2)).save(tmp_path / "b.jpg")
    named, other = read(tmp_path).records
    assert (named.path.name, other.path.name, other.boxes) == ("a.jpg", "b.jpg", None)


def test_missing_image_is_recorded(tmp_path):
    put(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (problem,) = read(tmp_path).absent
    assert problem.error == "FileNotFoundError"
    assert problem.message == "annotations.json lists a.jpg, which does not exist."


def test_annotations_of_unknown_images_are_counted(tmp_path):
    result = read(put(tmp_path, annotations=[{**BOX, "image_id": 7}]))
    assert result.label_problems[0].message == "1 annotations belong to no image of the file."


def test_image_in_two_files_counts_once(tmp_path):
    put(tmp_path)
    put(tmp_path, name="more.json")
    result = read(tmp_path)
    assert len(result.records) == 1
    assert "a second COCO entry" in result.label_problems[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"images": [], "categories": 3}', "is not a COCO file", id="wrong types"),
        pytest.param('{"images" "categories"', "is not a COCO file", id="not JSON"),
        pytest.param(
            '{"images": [{"id": 1}], "categories": []}', "is not a COCO file", id="no file name"
        ),
        pytest.param(
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}],'
            ' "categories": []}',
            "two images have the same id", id="one id for two images",
        ),
    ],
)  # fmt: skip
def test_file_in_another_format_is_named(tmp_path, text, message):
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(IngestError, match=message):
        read(tmp_path)


def test_folder_without_coco_says_what_is_expected(tmp_path):
    with pytest.raises(IngestError, match=r"has no COCO file: expected a \.json"):
        read(tmp_path)
