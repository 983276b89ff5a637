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
from curation.labeling.files.backend import Files
from curation.labeling.protocol import Labeler, Task, Withdrawable

FORMS = ["coco", "yolo", "voc", "datumaro"]


@pytest.fixture
def labeler(tmp_path, roadwork):
    def build(form="coco", **options):
        return Files(tmp_path / "out", taxonomy=roadwork, form=form, **options)

    return build


def hand_back(where, form):
    """Return the predictions as they are: what someone does who agrees with all of them."""
    predictions, returned = where / "predictions", where / "returned"
    there = {
        "coco": predictions / "annotations.json",
        "yolo": predictions / "labels",
        "voc": predictions / "Annotations",
        "datumaro": predictions / "annotations" / "default.json",
    }[form]
    if there.is_file():
        shutil.copy(there, returned / "done.json")
    else:
        shutil.copytree(there, returned, dirs_exist_ok=True)


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_back_belongs_to_its_sample(labeler, make_task, detections, tmp_path, form):
    ours = labeler(form)
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.4), ("worker", 0, 0, 1, 1))
    result = ours.push([make_task(1, boxes=boxes), make_task(2)])
    assert (result.pushed, result.existing) == (2, 0)
    hand_back(tmp_path / "out" / "round-01", form)
    first, second = ours.pull("round-01")
    assert (first.sample_id, second.sample_id) == ("id1", "id2")
    assert first.boxes.labels == ["cone", "worker"]
    assert first.complete
    assert len(second.boxes) == 0, "an empty submission is nothing there"


@pytest.mark.parametrize("form", FORMS)
def test_predictions_never_come_back_as_labels(labeler, make_task, detections, form):
    ours = labeler(form)
    ours.push([make_task(1, boxes=detections(("cone", 0, 0, 1, 1)))])
    assert ours.pull("round-01") == []
    assert ours.status("round-01").waiting == 1


@pytest.mark.parametrize("form", FORMS)
def test_pushing_again_changes_no_file(labeler, make_task, tmp_path, form):
    ours = labeler(form)
    ours.push([make_task(1), make_task(2)])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = ours.push([make_task(1), make_task(2)])
    assert (again.pushed, again.existing) == (0, 2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_later_tasks_join_and_earlier_ones_keep_their_names(labeler, make_task, tmp_path):
    ours = labeler()
    ours.push([make_task(1)])
    ours.push([make_task(2)])
    names = sorted(one.name for one in (tmp_path / "out" / "round-01" / "images").iterdir())
    assert names == ["00001_frame1.png", "00002_frame2.png"]


def test_the_task_list_says_why(labeler, make_task, tmp_path):
    labeler().push([make_task(1)])
    with (tmp_path / "out" / "round-01" / "tasks.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["rank"], row["arm"], row["hardness"]) == ("1", "hard", "0.75")
    assert row["because"] == "the members disagree"


def test_images_can_stay_in_their_place(labeler, make_task, tmp_path):
    ours = labeler("yolo", copy_images=False)
    ours.push([make_task(1)])
    place = tmp_path / "out" / "round-01"
    assert not (place / "images").exists()
    (place / "returned" / "frame1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert ours.pull("round-01")[0].boxes.labels == ["cone"]


def test_copies_are_upright(labeler, make_task, tmp_path):
    lying = tmp_path / "lying.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (64, 48), (200, 10, 10)).save(lying, exif=exif)
    labeler().push([make_task(1, size_wh=(48, 64), filepath=lying)])
    with Image.open(tmp_path / "out" / "round-01" / "images" / "00001_lying.jpg") as copy:
        assert copy.size == (48, 64)
        assert copy.getexif().get(0x0112, 1) == 1


def test_upright_images_are_copied_byte_by_byte(labeler, make_task, tmp_path):
    task = make_task(1)
    labeler().push([task])
    copy = tmp_path / "out" / "round-01" / "images" / "00001_frame1.png"
    with open(task.filepath, "rb") as source:
        assert copy.read_bytes() == source.read()


def test_what_was_hidden_stands_in_the_task_list(labeler, make_task, tmp_path):
    def corner(pixels):
        return np.array([[0, 0, 8, 8, 0.9]] if pixels[0, 0, 0] == 90 else []).reshape(-1, 5)

    dark = tmp_path / "dark.png"
    Image.new("RGB", (64, 48)).save(dark)
    ours = labeler("coco", blur=Blur({"faces": corner}))
    ours.push([make_task(1), make_task(2, filepath=dark)])
    with (tmp_path / "out" / "round-01" / "tasks.csv").open(newline="") as file:
        assert [row["blurred"] for row in csv.DictReader(file)] == ["faces: 1", "faces: 0"]
    names = sorted(one.name for one in (tmp_path / "out" / "round-01" / "images").iterdir())
    assert names == ["00001_frame1.png", "00002_dark.png"]


def test_only_copies_are_blurred(labeler):
    with pytest.raises(LabelingError, match="Export with copied images"):
        labeler(copy_images=False, blur=Blur({}))


def test_a_list_of_tasks_of_an_earlier_version_is_read(labeler, make_task, tmp_path):
    ours = labeler()
    ours.push([make_task(1)])
    path = tmp_path / "out" / "round-01" / "tasks.csv"
    rows = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(rows) + "\n")
    assert ours.status("round-01").tasks == 1


def test_the_tool_may_number_classes_in_its_own_order(labeler, make_task, tmp_path):
    ours = labeler("yolo")
    ours.push([make_task(1)])
    returned = tmp_path / "out" / "round-01" / "returned"
    (returned / "classes.txt").write_text("Barrel\ntraffic cone\n")
    (returned / "labels").mkdir()
    (returned / "labels" / "00001_frame1.txt").write_text("1 .5 .5 .5 .5\n0 .5 .5 .5 .5\n")
    assert ours.pull("round-01")[0].boxes.labels == ["cone", "drum"]


def test_an_unknown_label_waits_for_review(labeler, make_task, detections, tmp_path):
    ours = labeler("coco")
    ours.push([make_task(1, boxes=detections(("cone", 0, 0, 1, 1), ("drum", 0, 0, 1, 1)))])
    place = tmp_path / "out" / "round-01"
    text = (place / "predictions" / "annotations.json").read_text()
    (place / "returned" / "x.json").write_text(text.replace('"drum"', '"dragon"'))
    (one,) = ours.pull("round-01")
    assert not one.complete
    assert one.boxes.labels == ["cone"]
    assert one.doubts[0].what == "dragon"
    assert ours.status("round-01").doubtful == 1


def test_submissions_of_nobody_are_told(labeler, make_task, tmp_path):
    ours = labeler("yolo")
    ours.push([make_task(1)])
    (tmp_path / "out" / "round-01" / "returned" / "stranger.txt").write_text("")
    status = ours.status("round-01")
    assert (status.tasks, status.submitted, status.strangers) == (1, 0, ("stranger.txt",))


def test_an_image_that_comes_back_twice_is_refused(labeler, make_task, tmp_path):
    ours = labeler("coco")
    ours.push([make_task(1)])
    place = tmp_path / "out" / "round-01"
    for name in ("a.json", "b.json"):
        shutil.copy(place / "predictions" / "annotations.json", place / "returned" / name)
    with pytest.raises(LabelingError, match=r"00001_frame1\.png came back twice.*b\.json"):
        ours.pull("round-01")


def test_nothing_outside_of_the_folder_is_read(labeler, make_task, tmp_path):
    ours = labeler("yolo")
    ours.push([make_task(1)])
    secret = tmp_path / "secret.txt"
    secret.write_text("0 .5 .5 .5 .5")
    (tmp_path / "out" / "round-01" / "returned" / "00001_frame1.txt").symlink_to(secret)
    with pytest.raises(LabelingError, match="leads out of"):
        ours.pull("round-01")


@pytest.mark.parametrize("name", ["../round-01", "round-1", "round-01/..", ""])
def test_only_rounds_can_be_pulled(labeler, name):
    with pytest.raises(LabelingError, match="A round is called like round-01"):
        labeler().pull(name)


def test_a_round_that_was_not_exported_is_refused(labeler):
    with pytest.raises(LabelingError, match="nothing was exported for round-07"):
        labeler().status("round-07")


def test_same_names_are_refused_unless_copied(labeler, make_task, tmp_path):
    tasks = []
    for number, folder in enumerate(("a", "b"), start=1):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "same.png"
        Image.new("RGB", (8, 8)).save(path)
        tasks.append(make_task(number, size_wh=(8, 8), filepath=path))
    with pytest.raises(LabelingError, match="Two chosen images are called 'same'"):
        labeler(copy_images=False).push(tasks)
    assert labeler().push(tasks).pushed == 2


REFUSED_IMAGES = [
    pytest.param(None, "cannot be read: No such file", id="an image that is gone"),
    pytest.param(b"", "has zero bytes", id="an image without bytes"),
    pytest.param(b"text", "is no image that can be decoded", id="no image"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED_IMAGES)
def test_an_image_that_cannot_be_copied_is_named(labeler, make_task, tmp_path, content, reason):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelingError, match=rf"bad\.jpg {reason}"):
        labeler().push([make_task(1, filepath=path)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_one_sentence(labeler, make_task, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(LabelingError, match="Permission denied"):
        labeler().push([make_task(1)])


def test_a_file_in_the_way_is_one_sentence(labeler, make_task, tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(LabelingError, match=r"out.*: Not a directory"):
        labeler().push([make_task(1)])


def test_a_changed_task_list_is_named(labeler, make_task, tmp_path):
    ours = labeler()
    ours.push([make_task(1)])
    (tmp_path / "out" / "round-01" / "tasks.csv").write_text("image,sample_id\na,b\n")
    with pytest.raises(LabelingError, match=r"tasks\.csv was changed"):
        ours.pull("round-01")


def test_rounds_do_not_mix(labeler, make_task):
    with pytest.raises(LabelingError, match="one round at a time"):
        labeler().push([make_task(1), make_task(2, round_number=2)])


def test_no_tasks_are_no_work(labeler):
    assert labeler().push([]).pushed == 0


def test_it_is_a_labeler_that_can_take_a_round_back(labeler):
    assert isinstance(labeler(), Labeler)
    assert isinstance(labeler(), Withdrawable)


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
@example(boxes=Detections.empty(WORDS.names), size_wh=(1, 1), form="coco", stem="\r")
@given(
    boxes=any_boxes(),
    size_wh=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    form=st.sampled_from(FORMS),
    stem=st.text(
        st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["Cs"]),
        min_size=1,
        max_size=20,
    ),
)
def test_there_and_back_is_the_identity(tmp_path_factory, boxes, size_wh, form, stem):
    root = tmp_path_factory.mktemp("round_trip")
    ours = Files(root, taxonomy=WORDS, form=form, copy_images=False)
    task = Task(
        sample_id="one",
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
    hand_back(root / "round-01", form)
    (back,) = ours.pull("round-01")
    assert back.complete
    assert back.boxes.labels == boxes.labels
    np.testing.assert_allclose(back.boxes.boxes_xyxy, boxes.boxes_xyxy, rtol=1e-6, atol=1e-12)


def test_a_round_is_set_aside_with_all_that_was_returned(labeler, make_task, tmp_path):
    ours = labeler("voc")
    ours.push([make_task(1)])
    hand_back(tmp_path / "out" / "round-01", "voc")
    assert "withdrawn-1-round-01" in ours.withdraw("round-01")
    aside = tmp_path / "out" / "withdrawn-1-round-01" / "returned" / "00001_frame1.xml"
    assert aside.is_file()
    assert "any more" in ours.withdraw("round-01")
    ours.push([make_task(1)])
    assert ours.pull("round-01") == []
    assert "withdrawn-2-round-01" in ours.withdraw("round-01")


def test_only_rounds_can_be_withdrawn(labeler):
    with pytest.raises(LabelingError, match="A round is called like round-01"):
        labeler().withdraw("../out")


def test_a_hundred_thousand_boxes_are_read_in_seconds(labeler, make_task, tmp_path):
    ours = labeler("coco", copy_images=False)
    ours.push([make_task(i) for i in range(1, 101)])
    place = tmp_path / "out" / "round-01"
    content = json.loads((place / "predictions" / "annotations.json").read_text())
    content["annotations"] = [
        {"id": i, "image_id": i % 100 + 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
        for i in range(100_000)
    ]
    (place / "returned" / "many.json").write_text(json.dumps(content))
    assert sum(len(one.boxes) for one in ours.pull("round-01")) == 100_000
