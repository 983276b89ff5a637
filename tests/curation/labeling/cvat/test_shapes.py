import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade import taxonomy
from cascade.predictions import Detections
from curation.labeling.cvat import shapes
from curation.labeling.cvat.shapes import Frame, Job
from curation.labeling.protocol import Task

FRAME = Frame(number=0, name="id1.png", width=200, height=100)
DONE = Job(first=0, last=9, kind="annotation", state="completed", annotator="ada")
NAMES = {7: "cone", 8: "drum"}
BOX = {"type": "rectangle", "label_id": 7, "frame": 0, "points": [20, 10, 60, 40], "rotation": 0}


def read(roadwork, annotations, jobs=(DONE,), frames=(FRAME,), **options):
    return shapes.read_submissions(
        frames, jobs, annotations, label_names=NAMES, taxonomy=roadwork, **options
    )


def test_box_becomes_relative_and_assignee_is_annotator(roadwork):
    (submission,) = read(roadwork, {"shapes": [BOX]}).values()
    assert submission.boxes.labels == ["cone"]
    assert submission.boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4])
    assert (submission.doubts, submission.annotator) == ((), "ada")


def test_completed_frame_without_shapes_shows_nothing(roadwork):
    submissions = read(roadwork, {"shapes": []})
    assert (list(submissions), len(submissions["id1"].boxes)) == (["id1"], 0)


WAITING = [
    pytest.param([Job(0, 9, "annotation", "in progress", "ada")], id="in progress"),
    pytest.param([Job(0, 9, "annotation", "new", "ada")], id="new: predictions are in it"),
    pytest.param([Job(0, 9, "annotation", "rejected", "ada")], id="rejected"),
    pytest.param([Job(0, 9, "ground_truth", "completed", "ada")], id="another kind of job"),
    pytest.param([Job(1, 9, "annotation", "completed", "ada")], id="of other frames"),
    pytest.param([DONE, Job(0, 0, "annotation", "new", "bob")], id="one of two is not done"),
    pytest.param([], id="no job"),
]


@pytest.mark.parametrize("jobs", WAITING)
def test_incomplete_jobs_are_not_submitted(roadwork, jobs):
    assert read(roadwork, {"shapes": [BOX]}, jobs) == {}


def test_deleted_frame_is_not_submitted(roadwork):
    assert read(roadwork, {"shapes": []}, deleted=[0]) == {}


DOUBTS = [
    pytest.param({"shapes": [BOX | {"type": "polygon"}]}, "got a polygon", id="a polygon"),
    pytest.param({"shapes": [BOX | {"rotation": 3.5}]}, "is rotated", id="a rotated box"),
    pytest.param({"shapes": [BOX | {"points": [1, 2]}]}, "four numbers, got 2", id="two numbers"),
    pytest.param({"shapes": [BOX | {"label_id": 1}]}, "no such label", id="an unknown label"),
    pytest.param({"tags": [{"label_id": 7, "frame": 0}]}, "got a tag", id="a tag"),
    pytest.param(
        {"tracks": [{"label_id": 7, "shapes": [BOX | {"label_id": None}]}]},
        "got a track",
        id="a track",
    ),
]


@pytest.mark.parametrize(("annotations", "reason"), DOUBTS)
def test_other_shapes_are_doubts(roadwork, annotations, reason):
    (submission,) = read(roadwork, annotations).values()
    assert len(submission.boxes) == 0
    assert reason in submission.doubts[0].reason


def test_labels_have_distinct_colors(roadwork):
    labels = shapes.class_labels(roadwork.names)
    assert [label["name"] for label in labels] == list(roadwork.names)
    assert len({label["color"] for label in labels}) == len(roadwork.names)


@pytest.mark.parametrize("name", ["id1.png", "/tmp/x/id1.png", "C:\\x\\id1.png"])
def test_frame_belongs_to_sample_of_its_name(name):
    assert Frame(0, name, 1, 1).sample_id == "id1"


SIDE = st.floats(0, 1, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=5),
    size_wh=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    data=st.data(),
)
def test_round_trip_is_identity(rows, size_wh, data):
    words = taxonomy.from_labels("words", ["cône", "コーン", "🚧"], ["cône"])
    corners = np.sort(np.array(rows, float).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    ids = [data.draw(st.integers(0, 2)) for _ in rows]
    boxes = Detections(corners, np.ones(len(rows), np.float32), np.array(ids, int), words.names)
    task = Task("ab12", "/x/y.JPG", *size_wh, 1, 1, "hard", None, "", boxes)
    frame = Frame(3, shapes.file_name(task), *size_wh)
    assert frame.name == "ab12.jpg"
    numbers = {name: 10 + i for i, name in enumerate(words.names)}
    back = shapes.read_submissions(
        [frame],
        [DONE],
        {"shapes": shapes.predicted_shapes(task, frame, numbers)},
        label_names={number: name for name, number in numbers.items()},
        taxonomy=words,
    )["ab12"]
    assert back.boxes.labels == boxes.labels
    np.testing.assert_allclose(back.boxes.boxes_xyxy, corners, atol=1e-6)
