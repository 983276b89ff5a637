"""Tasks: percents by hand, what Label Studio's own code makes of them, and sizes of requests."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.label_studio import label_config, task_json
from curation.labeling.label_studio.task_json import chunked


@pytest.fixture
def as_json(make_task, roadwork):
    def build(task=None, **changes):
        asked = {
            "key": "k1",
            "image_url": "/data/local-files/?d=a%20b.jpg",
            "model_version": "ensemble-7",
            "taxonomy": roadwork,
        }
        return task_json.to_task(task or make_task(), **(asked | changes))

    return build


def test_a_task_says_what_and_why(as_json, make_task):
    task = as_json(replace(make_task(3), arm="slice", slices="time_of_day=night"))
    assert task == {
        "data": {
            "image": "/data/local-files/?d=a%20b.jpg",
            "sample_id": "id3",
            "task_key": "k1",
            "round": 1,
            "rank": 3,
            "arm": "slice",
            "hardness": 0.75,
            "reason": "the members disagree",
            "slice": "time_of_day=night",
            "model_version": "ensemble-7",
        },
        "predictions": [],
    }


def test_boxes_are_in_percent_of_the_upright_image(as_json, make_task, detections):
    """Corners 0.25, 0.5, 0.75, 0.875 of 200 x 80 pixels: 50, 40 to 150, 70."""
    boxes = detections(("cone", 0.25, 0.5, 0.75, 0.875), ("drum", 0, 0, 1, 1))
    boxes = replace(boxes, scores=np.array([0.25, 0.75], np.float32))
    task = as_json(make_task(size_wh=(200, 80), boxes=boxes))
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("ensemble-7", 0.5)
    first, second = prediction["result"]
    assert first["id"] != second["id"]
    assert {name: first[name] for name in first if name != "id"} == {
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "original_width": 200,
        "original_height": 80,
        "image_rotation": 0,
        "score": 0.25,
        "value": {
            "x": 25.0,
            "y": 50.0,
            "width": 50.0,
            "height": 37.5,
            "rotation": 0,
            "rectanglelabels": ["cone"],
        },
    }
    assert second["value"]["rectanglelabels"] == ["drum"]


def test_a_box_goes_by_the_name_that_the_config_has(as_json, make_task, detections):
    classes = ("Traffic Cone", "dragon")
    boxes = detections(
        ("dragon", 0, 0, 1, 1), ("Traffic Cone", 0.1, 0.1, 0.2, 0.2), classes=classes
    )
    (prediction,) = as_json(make_task(boxes=boxes))["predictions"]
    assert [one["value"]["rectanglelabels"] for one in prediction["result"]] == [["cone"]]


def test_label_studio_itself_takes_the_predictions(as_json, make_task, detections, roadwork):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    parsed = interface.LabelInterface(label_config.labeling_config(roadwork))
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.4), ("sign", 0, 0, 1, 1))
    (prediction,) = as_json(make_task(boxes=boxes))["predictions"]
    assert parsed.validate_prediction(prediction, return_errors=True) == []
    wrong = json.loads(json.dumps(prediction).replace('"cone"', '"dragon"'))
    assert parsed.validate_prediction(wrong, return_errors=True) != []


SIZES = [(1, 1), (7, 9999), (10000, 3), (1280, 720), (4032, 3024)]


@pytest.mark.parametrize("size_wh", SIZES)
def test_label_studios_own_export_has_the_boxes_at_our_pixels(
    tmp_path, as_json, make_task, detections, roadwork, size_wh
):
    """The code that its server exports COCO with, given the pre-annotations as if submitted."""
    sdk = pytest.importorskip("label_studio_sdk.converter")
    relative = [(0.25, 0.5, 0.75, 1.0), (0.0, 0.0, 1 / 3, 0.1), (0.99, 0.125, 1.0, 0.126)]
    task = make_task(size_wh=(2, 2), boxes=detections(*(("sign", *row) for row in relative)))
    exported = as_json(replace(task, width=size_wh[0], height=size_wh[1]))
    result = exported.pop("predictions")[0]["result"]
    annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": result}
    source = tmp_path / "tasks.json"
    source.write_text(json.dumps([{"id": 1, **exported, "annotations": [annotation]}]))
    converter = sdk.Converter(
        label_config.labeling_config(roadwork), str(tmp_path), download_resources=False
    )
    converter.convert_to_coco(str(source), str(tmp_path / "coco"), is_dir=False)
    coco = json.loads((tmp_path / "coco" / "result.json").read_text())
    width, height = size_wh
    expected = [
        [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
        for x1, y1, x2, y2 in np.array(relative).tolist()
    ]
    found = [one["bbox"] for one in coco["annotations"]]
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-4 * max(size_wh))
    by_id = {one["id"]: one["name"] for one in coco["categories"]}
    assert [by_id[one["category_id"]] for one in coco["annotations"]] == ["sign"] * 3
    assert [by_id[i] for i in range(len(roadwork.names))] == list(roadwork.names)


def test_a_key_is_of_dataset_round_and_sample():
    keys = {
        task_json.task_key("roads", 1, "65f0"),
        task_json.task_key("roads", 2, "65f0"),
        task_json.task_key("roads", 1, "65f1"),
        task_json.task_key("roads/1", 1, "65f0"),
        task_json.task_key("straßen", 1, "65f0"),
    }
    assert len(keys) == 5
    assert task_json.task_key("roads", 1, "65f0") == "c7fcdcec314b2a02918f8ac3ce120473"  # for good


def plain(number, text=""):
    return {"data": {"task_key": str(number), "text": text}, "predictions": []}


def written(chunk):
    """Return how many bytes a request has, however it is written."""
    return max(
        len(json.dumps(chunk, ensure_ascii=escaped, separators=marks).encode())
        for escaped in (True, False)
        for marks in ((", ", ": "), (",", ":"))
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(texts, max_size=20), st.integers(300, 900), st.integers(1, 7))
def test_every_task_comes_once_in_order_and_no_request_is_too_large(texts, max_bytes, max_count):
    tasks = [plain(i, text) for i, text in enumerate(texts)]
    chunks = list(chunked(tasks, max_bytes=max_bytes, max_count=max_count))
    assert [one for chunk in chunks for one in chunk] == tasks
    assert all(0 < len(chunk) <= max_count and written(chunk) <= max_bytes for chunk in chunks)
    for chunk, following in pairwise(chunks):  # and none is needlessly small
        assert len(chunk) == max_count or written([*chunk, following[0]]) > max_bytes


def test_tasks_are_read_only_as_they_are_asked_for():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield plain(len(taken))

    chunks = chunked(endless(), max_bytes=10_000, max_count=5)
    assert len(next(chunks)) == len(next(chunks)) == 5
    assert len(taken) <= 11


def test_a_request_may_be_full_to_the_byte():
    size = len(json.dumps([plain(1), plain(2)]))
    tasks = [plain(1), plain(2), plain(3)]
    assert [len(one) for one in chunked(tasks, max_bytes=size, max_count=9)] == [2, 1]
    assert [len(one) for one in chunked(tasks, max_bytes=size - 1, max_count=9)] == [1, 1, 1]


REFUSED = [
    pytest.param(plain(1, "x" * 500), {}, "task 1 takes 5", id="a task larger than a request"),
    pytest.param(plain(1, float("nan")), {}, "written as JSON", id="a number that JSON lacks"),
    pytest.param(plain(1, object()), {}, "written as JSON", id="what is no JSON"),
    pytest.param(plain(1), {"max_count": 0}, "1 or more, got 0", id="no task per request"),
]


@pytest.mark.parametrize(("task", "limits", "reason"), REFUSED)
def test_what_cannot_be_sent_is_named(task, limits, reason):
    with pytest.raises(LabelingError, match=reason):
        list(chunked([task], **({"max_bytes": 500, "max_count": 5} | limits)))


def test_boxes_of_nobody_make_no_prediction(as_json, make_task):
    assert as_json(make_task(boxes=Detections.empty()))["predictions"] == []
