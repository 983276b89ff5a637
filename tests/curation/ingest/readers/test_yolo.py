"""Parsing of YOLO rows, and the folder layouts around them."""

import pytest
from PIL import Image

from curation.errors import IngestError
from curation.ingest.readers import yolo
from curation.ingest.records import ReaderOptions

NAMES = ("cone", "drum")


def put(root, *images, **labels):
    """Write images, and label files by their path with `__` for `/`."""
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    for name, text in labels.items():
        path = root / (name.replace("__", "/") + ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def options(tmp_path, names=NAMES):
    return ReaderOptions(names=names, frames=tmp_path)


def test_rows_become_relative_corners():
    boxes, reasons = yolo.parse_labels("1 0.5 0.25 0.5 0.5\n\n0 0.5 0.5 1 1\n", NAMES)
    assert boxes.labels == ["drum", "cone"]
    assert boxes.boxes_xyxy.tolist() == [[0.25, 0.0, 0.75, 0.5], [0, 0, 1, 1]]
    assert boxes.scores.tolist() == [1, 1]
    assert reasons == []


def test_box_over_border_is_clipped():
    boxes, reasons = yolo.parse_labels("0 0.9 0.5 0.4 0.5", NAMES)
    assert boxes.boxes_xyxy[0].tolist() == pytest.approx([0.7, 0.25, 1.0, 0.75])
    assert reasons == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(
            "0 0.5 0.5 0.5",
            "must have 5 numbers (class, center x and y, width, height), got 4",
            id="too short",
        ),
        pytest.param(
            "0 .1 .1 .2 .1 .2 .2 .1 .2",
            "must have 5 numbers (class, center x and y, width, height), got 9",
            id="a polygon",
        ),
        pytest.param("cone 0.5 0.5 0.5 0.5", "Every value must be a number", id="words"),
        pytest.param("2 0.5 0.5 0.5 0.5", "The class must be in 0 to 1, got 2", id="no such class"),
        pytest.param(
            "-1 0.5 0.5 0.5 0.5", "The class must be in 0 to 1, got -1", id="a negative class"
        ),
        pytest.param("0.5 0.5 0.5 0.5 0.5", "must be an integer", id="half a class"),
        pytest.param("nan 0.5 0.5 0.5 0.5", "must be an integer", id="class not a number"),
        pytest.param("0 320 240 64 48", "must be in [0, 1]", id="pixels"),
        pytest.param("0 nan 0.5 0.5 0.5", "must be in [0, 1]", id="not a number"),
        pytest.param("0 0.5 0.5 0 0.5", "has no extent", id="no width"),
    ],
)
def test_malformed_row_is_left_out_with_number_and_reason(row, reason):
    boxes, reasons = yolo.parse_labels(f"0 0.5 0.5 0.5 0.5\n{row}\n1 0.5 0.5 0.5 0.5", NAMES)
    assert boxes.labels == ["cone", "drum"]
    assert len(reasons) == 1
    assert reasons[0].startswith("row 2: ")
    assert reason in reasons[0]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        pytest.param("images/train/a.jpg", "labels__train__a", id="images/train, labels/train"),
        pytest.param("train/images/a.jpg", "train__labels__a", id="Roboflow: train/images"),
    ],
)
def test_common_layouts_are_read(tmp_path, image, label):
    put(tmp_path, image, **{label: "0 .5 .5 .5 .5"})
    (record,) = yolo.read(tmp_path, options(tmp_path)).records
    assert (record.path, record.split) == (tmp_path / image, "train")
    assert record.boxes.labels == ["cone"]


def test_labels_next_to_images_are_read(tmp_path):
    put(tmp_path, "a.jpg", a="1 .5 .5 .5 .5")
    (record,) = yolo.read(tmp_path, options(tmp_path)).records
    assert (record.split, record.boxes.labels) == (None, ["drum"])


def test_empty_label_file_means_labeled_and_missing_file_unlabeled(tmp_path):
    put(tmp_path, "images/a.jpg", "images/b.jpg", labels__a="\n")
    labeled, unlabeled = yolo.read(tmp_path, options(tmp_path)).records
    assert len(labeled.boxes) == 0
    assert unlabeled.boxes is None


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("valid", "val"), ("Val", "val"), ("test", "test"), ("batch1", None)],
)
def test_folder_names_are_splits(tmp_path, folder, split):
    put(tmp_path, f"images/{folder}/a.jpg", **{f"labels__{folder}__a": ""})
    assert yolo.read(tmp_path, options(tmp_path)).records[0].split == split


def test_malformed_rows_are_one_problem_per_image(tmp_path):
    put(tmp_path, "images/a.jpg", labels__a="7 .5 .5 .5 .5\n" * 8)
    (problem,) = yolo.read(tmp_path, options(tmp_path)).label_problems
    assert problem.filepath == str(tmp_path / "images/a.jpg")
    assert problem.message.count("got 7") == 5
    assert problem.message.endswith("and 3 more")


def test_binary_label_file_leaves_image_unlabeled(tmp_path):
    put(tmp_path, "images/a.jpg", labels__a="")
    (tmp_path / "labels/a.txt").write_bytes(b"\xff\xfe\x00")
    result = yolo.read(tmp_path, options(tmp_path))
    assert result.records[0].boxes is None
    assert "a.txt cannot be read" in result.label_problems[0].message


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data.yaml", "names: [cone, drum]"),
        ("data.yaml", "nc: 2\nnames:\n  1: drum\n  0: cone\n"),
        ("classes.txt", "cone\ndrum\n"),
    ],
    ids=["a list", "a mapping in any order", "plain lines"],
)
def test_class_names_are_found_with_data(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    assert yolo.find_names(tmp_path) == NAMES


@pytest.mark.parametrize("text", ["nc: 2", "names: 3", "- a", ": :"])
def test_invalid_names_file_is_named(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(IngestError, match=r"data\.yaml must contain `names:`"):
        yolo.find_names(tmp_path)


def test_missing_class_names_say_what_to_do(tmp_path):
    put(tmp_path, "images/a.jpg", labels__a="")
    with pytest.raises(IngestError, match="--names 'cone,drum'"):
        yolo.read(tmp_path, options(tmp_path, names=None))
