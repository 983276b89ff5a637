import csv
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cascade import taxonomy
from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.blur import Blur
from curation.labeling.files.backend import FileLabeler
from curation.labeling.protocol import Labeler, Task, WithdrawableLabeler

FORMATS = ["coco", "yolo", "voc", "datumaro"]


@pytest.fixture
def labeler(tmp_path, roadwork):
    def build(file_format="coco", **options):
        return FileLabeler(tmp_path / "out", taxonomy=roadwork, file_format=file_format, **options)

    return build


def return_predictions(folder, file_format):
    """Return the predictions unchanged, as an annotator does who agrees with all of them."""
    predictions, returned = folder / "predictions", folder / "returned"
    source = {
        "coco": predictions / "annotations.json",
        "yolo": predictions / "labels",
        "voc": predictions / "Annotations",
        "datumaro": predictions / "annotations" / "default.json",
    }[file_format]
    if source.is_file():
        shutil.copy(source, returned / "done.json")
    else:
        shutil.copytree(source, returned, dirs_exist_ok=True)


@pytest.mark.parametrize("file_format", FORMATS)
def test_returned_boxes_belong_to_their_sample(
    labeler, make_task, detections, tmp_path, file_format
):
    ours = labeler(file_format)
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.4), ("worker", 0, 0, 1, 1))
    result = ours.push([make_task(1, boxes=boxes), make_task(2)])
    assert (result.pushed, result.existing) == (2, 0)
    return_predictions(tmp_path / "out" / "round-01", file_format)
    first, second = ours.pull("round-01")
    assert (first.sample_id, second.sample_id) == ("id1", "id2")
    assert first.boxes.labels == ["cone", "worker"]
    assert first.complete
    assert len(second.boxes) == 0, "an empty submission is nothing there"


@pytest.mark.parametrize("file_format", FORMATS)
def test_predictions_are_not_read_as_labels(labeler, make_task, detections, file_format):
    ours = labeler(file_format)
    ours.push([make_task(1, boxes=detections(("cone", 0, 0, 1, 1)))])
    assert ours.pull("round-01") == []
    assert ours.status("round-01").waiting == 1


@pytest.mark.parametrize("file_format", FORMATS)
def test_push_is_idempotent(labeler, make_task, tmp_path, file_format):
    ours = labeler(file_format)
    ours.push([make_task(1), make_task(2)])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = ours.push([make_task(1), make_task(2)])
    assert (again.pushed, again.existing) == (0, 2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_later_tasks_are_added_and_existing_names_kept(labeler, make_task, tmp_path):
    ours = labeler()
    ours.push([make_task(1)])
    ours.push([make_task(2)])
    names = sorted(path.name for path in (tmp_path / "out" / "round-01" / "images").iterdir())
    assert names == ["00001_frame1.png", "00002_frame2.png"]


def test_task_list_has_reasons(labeler, make_task, tmp_path):
    labeler().push([make_task(1)])
    with (tmp_path / "out" / "round-01" / "tasks.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["rank"], row["arm"], row["hardness"]) == ("1", "hard", "0.75")
    assert row["because"] == "the members disagree"


def test_images_can_stay_in_place(labeler, make_task, tmp_path):
    ours = labeler("yolo", copy_images=False)
    ours.push([make_task(1)])
    folder = tmp_path / "out" / "round-01"
    assert not (folder / "images").exists()
    (folder / "returned" / "frame1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert ours.pull("round-01")[0].boxes.labels == ["cone"]


def test_copies_are_upright(labeler, make_task, tmp_path):
    lying = tmp_path / "lying.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    Image.new("RGB", (64, 48), (200, 10, 10)).save(lying, exif=exif)
    labeler().push([make_task(1, size_wh=(48, 64), filepath=lying)])
    with Image.open(tmp_path / "out" / "round-01" / "images" / "00001_lying.jpg") as copy:
        assert copy.size == (48, 64)
        assert copy.getexif().get(0x0112, 1) == 1


def test_upright_images_are_copied_unchanged(labeler, make_task, tmp_path):
    task = make_task(1)
    labeler().push([task])
    copy = tmp_path / "out" / "round-01" / "images" / "00001_frame1.png"
    with open(task.filepath, "rb") as source:
        assert copy.read_bytes() == source.read()


def test_task_list_records_blurring(labeler, make_task, tmp_path):
    def corner(pixels):
        return np.array([[0, 0, 8, 8, 0.9]] if pixels[0, 0, 0] == 90 else []).reshape(-1, 5)

    dark = tmp_path / "dark.png"
    Image.new("RGB", (64, 48)).save(dark)
    ours = labeler("coco", blur=Blur({"faces": corner}))
    ours.push([make_task(1), make_task(2, filepath=dark)])
    with (tmp_path / "out" / "round-01" / "tasks.csv").open(newline="") as file:
        assert [row["blurred"] for row in csv.DictReader(file)] == ["faces: 1", "faces: 0"]
    names = sorted(path.name for path in (tmp_path / "out" / "round-01" / "images").iterdir())
    assert names == ["00001_frame1.png", "00002_dark.png"]


def test_blur_requires_copies(labeler):
    with pytest.raises(LabelingError, match="Export with copied images"):
        labeler(copy_images=False, blur=Blur({}))


def test_task_list_of_earlier_version_is_read(labeler, make_task, tmp_path):
    ours = labeler()
    ours.push([make_task(1)])
    path = tmp_path / "out" / "round-01" / "tasks.csv"
    rows = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(rows) + "\n")
    assert ours.status("round-01").tasks == 1


def test_returned_class_names_define_order(labeler, make_task, tmp_path):
    ours = labeler("yolo")
    ours.push([make_task(1)])
    returned = tmp_path / "out" / "round-01" / "returned"
    (returned / "classes.txt").write_text("Barrel\ntraffic cone\n")
    (returned / "labels").mkdir()
    (returned / "labels" / "00001_frame1.txt").write_text("1 .5 .5 .5 .5\n0 .5 .5 .5 .5\n")
    assert ours.pull("round-01")[0].boxes.labels == ["cone", "drum"]


def test_unknown_label_needs_review(labeler, make_task, detections, tmp_path):
    ours = labeler("coco")
    ours.push([make_task(1, boxes=detections(("cone", 0, 0, 1, 1), ("drum", 0, 0, 1, 1)))])
    folder = tmp_path / "out" / "round-01"
    text = (folder / "predictions" / "annotations.json").read_text()
    (folder / "returned" / "x.json").write_text(text.replace('"drum"', '"dragon"'))
    (annotation,) = ours.pull("round-01")
    assert not annotation.complete
    assert annotation.boxes.labels == ["cone"]
    assert annotation.doubts[0].subject == "dragon"
    assert ours.status("round-01").doubtful == 1


def test_unmatched_submissions_are_listed(labeler, make_task, tmp_path):
    ours = labeler("yolo")
    ours.push([make_task(1)])
    (tmp_path / "out" / "round-01" / "returned" / "stranger.txt").write_text("")
    status = ours.status("round-01")
    assert (status.tasks, status.submitted, status.strangers) == (1, 0, ("stranger.txt",))


def test_image_returned_twice_is_rejected(labeler, make_task, tmp_path):
    ours = labeler("coco")
    ours.push([make_task(1)])
    folder = tmp_path / "out" / "round-01"
    for name in ("a.json", "b.json"):
        shutil.copy(folder / "predictions" / "annotations.json", folder / "returned" / name)
    with pytest.raises(LabelingError, match=r"00001_frame1\.png was returned twice.*b\.json"):
        ours.pull("round-01")


def test_links_out_of_folder_are_rejected(labeler, make_task, tmp_path):
    ours = labeler("yolo")
    ours.push([make_task(1)])
    secret = tmp_path / "secret.txt"
    secret.write_text("0 .5 .5 .5 .5")
    (tmp_path / "out" / "round-01" / "returned" / "00001_frame1.txt").symlink_to(secret)
    with pytest.raises(LabelingError, match="leads out of"):
        ours.pull("round-01")


@pytest.mark.parametrize("name", ["../round-01", "round-1", "round-01/..", ""])
def test_pull_rejects_other_names(labeler, name):
    with pytest.raises(LabelingError, match="must look like round-01"):
        labeler().pull(name)


def test_round_that_was_not_exported_is_rejected(labeler):
    with pytest.raises(LabelingError, match="round-07 was not exported"):
        labeler().status("round-07")


def test_equal_file_names_are_rejected_unless_copied(labeler, make_task, tmp_path):
    tasks = []
    for number, folder in enumerate(("a", "b"), start=1):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "same.png"
        Image.new("RGB", (8, 8)).save(path)
        tasks.append(make_task(number, size_wh=(8, 8), filepath=path))
    with pytest.raises(LabelingError, match="Two chosen images are named 'same'"):
        labeler(copy_images=False).push(tasks)
    assert labeler().push(tasks).pushed == 2


REFUSED_IMAGES = [
    pytest.param(None, "Cannot read image `.*bad.jpg`: No such file", id="a missing image"),
    pytest.param(
        b"", "Cannot decode image `.*bad.jpg`: the file is empty", id="an image without bytes"
    ),
    pytest.param(b"text", "Cannot decode image `.*bad.jpg`", id="not an image"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED_IMAGES)
def test_undecodable_image_is_named(labeler, make_task, tmp_path, content, reason):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelingError, match=reason):
        labeler().push([make_task(1, filepath=path)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_missing_permission_is_one_sentence(labeler, make_task, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(LabelingError, match="Permission denied"):
        labeler().push([make_task(1)])


def test_file_in_place_of_folder_is_one_sentence(labeler, make_task, tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(LabelingError, match=r"out.*: Not a directory"):
        labeler().push([make_task(1)])


def test_edited_task_list_is_named(labeler, make_task, tmp_path):
    ours = labeler()
    ours.push([make_task(1)])
    (tmp_path / "out" / "round-01" / "tasks.csv").write_text("image,sample_id\na,b\n")
    with pytest.raises(LabelingError, match=r"tasks\.csv was edited"):
        ours.pull("round-01")


def test_tasks_of_several_rounds_are_rejected(labeler, make_task):
    with pytest.raises(LabelingError, match="one round at a time"):
        labeler().push([make_task(1), make_task(2, round_number=2)])


def test_push_of_no_tasks_does_nothing(labeler):
    assert labeler().push([]).pushed == 0


def test_file_labeler_is_a_withdrawable_labeler(labeler):
    assert isinstance(labeler(), Labeler)
    assert isinstance(labeler(), WithdrawableLabeler)


WORDS = taxonomy.from_labels(
    "words", ["Leitkegel", "cône", "コーン", "конус & <b>", "two words", "🚧"], ["cône"]
)
SIDE = st.floats(0, 1, allow_nan=False, width=64)


@st.composite
def any_boxes(draw):
    rows = draw(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=6))
    corners = np.sort(np.array(rows, float).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    classes = WORDS.names
    ids = draw(st.lists(st.integers(0, len(classes) - 1), min_size=len(rows), max_size=len(rows)))
    return Detections(
        boxes_xyxy=corners,
        scores=np.ones(len(rows), np.float32),
        class_ids=np.array(ids, np.int64),
        classes=classes,
    )


@settings(max_examples=60, deadline=None)
@example(boxes=Detections.empty(WORDS.names), size_wh=(1, 1), file_format="coco", stem="\r")
@given(
    boxes=any_boxes(),
    size_wh=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    file_format=st.sampled_from(FORMATS),
    stem=st.text(
        st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["Cs"]),
        min_size=1,
        max_size=20,
    ),
)
def test_round_trip_is_identity(tmp_path_factory, boxes, size_wh, file_format, stem):
    root = tmp_path_factory.mktemp("round_trip")
    ours = FileLabeler(root, taxonomy=WORDS, file_format=file_format, copy_images=False)
    task = Task(
        sample_id="id1",
        filepath=f"/images/x{stem}x.jpg",
        width=size_wh[0],
        height=size_wh[1],
        round=1,
        rank=1,
        arm="random",
        hardness=None,
        because=stem,
        predictions=boxes,
    )
    ours.push([task])
    return_predictions(root / "round-01", file_format)
    (back,) = ours.pull("round-01")
    assert back.complete
    assert back.boxes.labels == boxes.labels
    np.testing.assert_allclose(back.boxes.boxes_xyxy, boxes.boxes_xyxy, rtol=1e-6, atol=1e-12)


def test_withdrawn_folder_is_renamed_with_returned_files(labeler, make_task, tmp_path):
    ours = labeler("voc")
    ours.push([make_task(1)])
    return_predictions(tmp_path / "out" / "round-01", "voc")
    assert "withdrawn-1-round-01" in ours.withdraw("round-01")
    moved = tmp_path / "out" / "withdrawn-1-round-01" / "returned" / "00001_frame1.xml"
    assert moved.is_file()
    assert "no longer exists" in ours.withdraw("round-01")
    ours.push([make_task(1)])
    assert ours.pull("round-01") == []
    assert "withdrawn-2-round-01" in ours.withdraw("round-01")


def test_withdraw_rejects_other_names(labeler):
    with pytest.raises(LabelingError, match="must look like round-01"):
        labeler().withdraw("../out")


def test_many_boxes_are_read_in_seconds(labeler, make_task, tmp_path):
    ours = labeler("coco", copy_images=False)
    ours.push([make_task(i) for i in range(1, 101)])
    folder = tmp_path / "out" / "round-01"
    content = json.loads((folder / "predictions" / "annotations.json").read_text())
    content["annotations"] = [
        {"id": i, "image_id": i % 100 + 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
        for i in range(100_000)
    ]
    (folder / "returned" / "many.json").write_text(json.dumps(content))
    assert sum(len(row.boxes) for row in ours.pull("round-01")) == 100_000
