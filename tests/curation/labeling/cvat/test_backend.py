"""CVAT backend against a stand-in server, see `cvat_stand_in.py`."""

import traceback

import pytest

from curation.errors import LabelingError
from curation.labeling.cvat import backend, shapes
from curation.labeling.cvat.backend import Cvat
from curation.labeling.protocol import Labeler, WithdrawableLabeler
from curation.secrets import Secret

TOKEN = Secret("cvat-token", "hidden-token", "a test")


def test_unencrypted_address_is_rejected(roadwork):
    with pytest.raises(LabelingError, match="must begin with https") as raised:
        Cvat("http://cvat.example", TOKEN, taxonomy=roadwork, title="demo")
    assert "hidden-token" not in str(raised.value)


def test_missing_sdk_says_what_to_install(roadwork, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cvat_sdk.api_client", None)
    with pytest.raises(LabelingError, match=r"cascade-curation\[cvat_sdk\]"):
        Cvat("https://cvat.example", TOKEN, taxonomy=roadwork, title="demo")


@pytest.fixture
def models():
    reason = "cvat-sdk is not installed: pip install cvat-sdk"
    return pytest.importorskip("cvat_sdk.api_client.models", reason=reason)


@pytest.fixture
def stand_in(models):
    from cvat_stand_in import StandIn

    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def labeler(stand_in, roadwork):
    return Cvat(stand_in.address, TOKEN, taxonomy=roadwork, title="demo")


def test_sdk_accepts_task_request(models, roadwork):
    request = backend.task_request(models, "demo round-01", roadwork.names)
    assert [label.name for label in request.labels] == list(roadwork.names)
    assert (request.segment_size, request.overlap) == (50, 0)


def test_sdk_accepts_shapes_and_rejects_invalid_ones(models, make_task, detections):
    task = make_task(1, boxes=detections(("cone", 0.1, 0.2, 0.3, 0.4)))
    frame = shapes.Frame(0, "id1.png", 64, 48)
    drawn = shapes.predicted_shapes(task, frame, {"cone": 7})
    (shape,) = backend.annotations_request(models, drawn).shapes
    assert shape.points == pytest.approx([6.4, 9.6, 19.2, 19.2])
    for wrong in ({"label_id": "cone"}, {"points": "1,2"}, {"type": "box"}):
        with pytest.raises(Exception, match=r"Invalid"):
            backend.annotations_request(models, [drawn[0] | wrong])


def test_cvat_is_a_withdrawable_labeler(labeler):
    assert isinstance(labeler, Labeler)
    assert isinstance(labeler, WithdrawableLabeler)


def test_certificates_are_verified(labeler, monkeypatch):
    seen = []
    monkeypatch.setattr(
        labeler._sdk.client.Client, "login", lambda self, _: seen.append(self.config.verify_ssl)
    )
    with labeler._connect():
        pass
    assert seen == [True]


def test_round_trip(labeler, stand_in, make_task, detections):
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.4), ("worker", 0, 0, 1, 1))
    tasks = [make_task(1, boxes=boxes), make_task(2)]
    assert labeler.push(tasks).pushed == 2
    (task,) = stand_in.tasks.values()
    assert task["name"] == "demo round-01"
    assert task["frames"] == [("id1.png", 64, 48), ("id2.png", 64, 48)]
    assert [shape["source"] for shape in task["annotations"]["shapes"]] == ["auto", "auto"]
    assert {request[2] for request in stand_in.seen} == {"Bearer hidden-token"}
    assert labeler.pull("round-01") == [], "predictions are not labels"
    assert labeler.status("round-01").waiting == 2
    task["state"] = "completed"
    first, second = labeler.pull("round-01")
    assert (first.sample_id, first.annotator, first.complete) == ("id1", "ada", True)
    assert first.boxes.labels == ["cone", "worker"]
    assert first.boxes.boxes_xyxy == pytest.approx(boxes.boxes_xyxy, abs=1e-6)
    assert (second.sample_id, len(second.boxes)) == ("id2", 0)
    assert labeler.status("round-01").submitted == 2


def test_push_is_idempotent_and_later_samples_get_another_task(labeler, stand_in, make_task):
    labeler.push([make_task(1)])
    again = labeler.push([make_task(1)])
    assert (again.pushed, again.existing, len(stand_in.tasks)) == (0, 1, 1)
    assert labeler.push([make_task(1), make_task(2)]).pushed == 1
    assert [task["name"] for task in stand_in.tasks.values()] == [
        "demo round-01", "demo round-01 part 2",
    ]  # fmt: skip
    stand_in.tasks[2]["state"] = "completed"
    assert [row.sample_id for row in labeler.pull("round-01")] == ["id2"]


def test_started_work_is_not_overwritten(labeler, stand_in, make_task, detections):
    task = make_task(1, boxes=detections(("cone", 0.1, 0.2, 0.3, 0.4)))
    labeler.push([task])
    stand_in.tasks[1]["annotations"]["shapes"] = []
    stand_in.tasks[1]["state"] = "in progress"
    labeler.push([task])
    assert stand_in.tasks[1]["annotations"]["shapes"] == []


def test_interrupted_push_is_completed(labeler, stand_in, make_task):
    labeler.push([make_task(1)])
    stand_in.tasks[1]["frames"] = []  # as if interrupted before the upload
    assert labeler.push([make_task(1)]).pushed == 1
    assert [task["frames"] for task in stand_in.tasks.values()] == [[("id1.png", 64, 48)]]


def test_images_are_prepared_before_upload(stand_in, roadwork, make_task):
    from PIL import Image

    def shrink(path, target):
        Image.open(path).resize((8, 6)).save(target)
        return target

    Cvat(
        stand_in.address, TOKEN, taxonomy=roadwork, title="demo", prepare_image=shrink
    ).push([make_task(1)])  # fmt: skip
    assert stand_in.tasks[1]["frames"] == [("id1.png", 8, 6)]


def test_withdrawn_round_is_renamed(labeler, stand_in, make_task):
    labeler.push([make_task(1)])
    assert "1 tasks" in labeler.withdraw("round-01")
    assert stand_in.tasks[1]["name"] == "withdrawn: demo round-01"
    with pytest.raises(LabelingError, match="no task called 'demo round-01'"):
        labeler.pull("round-01")


@pytest.mark.parametrize("status", [401, 403, 500])
def test_server_error_is_one_sentence_without_token(labeler, stand_in, make_task, status):
    stand_in.fail = status
    with pytest.raises(LabelingError, match=rf"CVAT at .* answered {status}") as raised:
        labeler.push([make_task(1)])
    assert "hidden-token" not in "".join(traceback.format_exception(raised.value))


def test_tasks_of_several_rounds_are_rejected(labeler, make_task):
    with pytest.raises(LabelingError, match="one round at a time"):
        labeler.push([make_task(1), make_task(2, round_number=2)])
