import hashlib
import json
from collections import defaultdict

import cv2
import pytest

from curation.demo import CLASSES, HEIGHT, PRETRAIN, WIDTH, dataset, drive_scenes, write_dataset
from curation.demo.dataset import DemoFolderError, write_quickstart

DRIVES = {"train": 3, "val": 1, "test": 2}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "deep" / "roads"
    return write_dataset(folder, n_drives_by_split=DRIVES, seed=1)


@pytest.fixture(scope="module")
def coco(written):
    return json.loads((written / "annotations.json").read_text())


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_images_on_disk_are_those_in_the_annotations(written, coco):
    names = {entry["file_name"] for entry in coco["images"]}
    assert len(names) == len(coco["images"])
    assert names == {f"images/{path.name}" for path in (written / "images").iterdir()}
    assert "images/drive0003_002.jpg" in names
    for entry in coco["images"][::7]:
        assert cv2.imread(str(written / entry["file_name"])).shape == (HEIGHT, WIDTH, 3)
        assert (entry["width"], entry["height"]) == (WIDTH, HEIGHT)


def test_ids_refer_to_each_other(coco):
    images = {entry["id"] for entry in coco["images"]}
    numbers = [entry["id"] for entry in coco["annotations"]]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert {entry["image_id"] for entry in coco["annotations"]} <= images
    assert tuple(entry["name"] for entry in coco["categories"]) == CLASSES
    assert {entry["category_id"] for entry in coco["annotations"]} <= {*range(1, len(CLASSES) + 1)}


def test_boxes_are_pixels_within_the_image(coco):
    for entry in coco["annotations"]:
        x, y, w, h = entry["bbox"]
        assert min(x, y) >= 0
        assert min(w, h) > 1
        assert x + w <= WIDTH + 1e-6
        assert y + h <= HEIGHT + 1e-6
        assert entry["area"] == pytest.approx(w * h, abs=0.01)


def test_boxes_are_those_of_the_scenes(coco):
    boxes = defaultdict(list)
    for entry in coco["annotations"]:
        boxes[entry["image_id"]].append((CLASSES[entry["category_id"] - 1], entry["bbox"]))
    by_name = {(entry["drive"], entry["time_s"]): entry["id"] for entry in coco["images"]}
    for scene in drive_scenes(1, 4):
        mine = boxes[by_name[scene.drive, scene.time_s]]
        assert tuple(label for label, _ in mine) == scene.labels
        for (_, (x, y, w, h)), (x0, y0, x1, y1) in zip(mine, scene.boxes_xyxy, strict=True):
            pixels = x0 * WIDTH, y0 * HEIGHT, x1 * WIDTH, y1 * HEIGHT
            assert (x, y, x + w, y + h) == pytest.approx(pixels, abs=0.01)


def test_drives_keep_together_and_splits_have_their_number(coco):
    splits = defaultdict(set)
    for entry in coco["images"]:
        splits[entry["drive"]].add((entry["split"], entry["time_of_day"], entry["weather"]))
    assert all(len(kinds) == 1 for kinds in splits.values())
    numbers = defaultdict(int)
    for ((split, *_),) in splits.values():
        numbers[split] += 1
    assert numbers == DRIVES


def test_the_same_arguments_write_the_same_bytes(written, tmp_path):
    again = write_dataset(tmp_path / "again", n_drives_by_split=DRIVES, seed=1)
    assert digests(again) == digests(written)


def test_another_seed_writes_other_images(written, tmp_path):
    other = write_dataset(tmp_path / "other", n_drives_by_split={"train": 1}, seed=2)
    mine, theirs = (digests(folder)["images/drive0000_000.jpg"] for folder in (written, other))
    assert mine != theirs


def test_a_complete_folder_is_left_alone(written):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert write_dataset(str(written), n_drives_by_split=DRIVES, seed=1) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"seed": 2}, id="another seed"),
        pytest.param({"domain": PRETRAIN}, id="another domain"),
        pytest.param({"n_drives_by_split": {"train": 4}}, id="other splits"),
    ],
)
def test_other_drives_are_not_overwritten(written, other):
    arguments = {"n_drives_by_split": DRIVES, "seed": 1, **other}
    with pytest.raises(DemoFolderError, match="does not contain these drives"):
        write_dataset(written, **arguments)


def test_somebody_elses_folder_is_not_touched(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DemoFolderError, match="choose another folder"):
        write_dataset(tmp_path, n_drives_by_split={"train": 1}, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    folder = tmp_path / "roads"
    folder.mkdir()
    write_dataset(folder, n_drives_by_split={"val": 1}, seed=0)
    assert (folder / "annotations.json").is_file()


def test_the_quickstart_has_all_classes_and_hard_slices_in_its_test_split(tmp_path):
    folder = write_quickstart(tmp_path / "roads", seed=0)
    coco = json.loads((folder / "annotations.json").read_text())
    test = {entry["id"]: entry for entry in coco["images"] if entry["split"] == "test"}
    named = {e["category_id"] for e in coco["annotations"] if e["image_id"] in test}
    assert named == {*range(1, len(CLASSES) + 1)}
    assert {entry["time_of_day"] for entry in test.values()} == {"day", "night"}
    assert {entry["weather"] for entry in test.values()} == {"clear", "rain", "glare", "fog"}


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*_args, **_kwargs):
        yield from drive_scenes(0, 0, n_frames=2)
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "drive_scenes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "roads", n_drives_by_split={"train": 1}, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("drives", "message"),
    [
        pytest.param({"training": 1}, "train, val, test, got 'training'", id="a misspelt split"),
        pytest.param({"train": 0}, "at least one drive", id="no drives"),
        pytest.param({"train": -1, "val": 3}, "0 or more", id="a negative number"),
    ],
)
def test_bad_numbers_of_drives_are_named(tmp_path, drives, message):
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "roads", n_drives_by_split=drives, seed=0)
