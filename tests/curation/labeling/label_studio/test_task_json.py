"""Task JSON: percents, compatibility with Label Studio's code, and sizes of requests."""

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
        arguments = {
            "key": "k1",
            "image_url": "/data/local-files/?d=a%20b.jpg",
            "model_version": "ensemble-7",
            "taxonomy": roadwork,
        }
        return task_json.to_task(task or make_task(), **(arguments | changes))

    return build


def test_task_has_image_and_reasons(as_json, make_task):
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


def test_boxes_use_class_names_of_config(as_json, make_task, detections):
    classes = ("Traffic Cone", "dragon")
    boxes = detections(
        ("dragon", 0, 0, 1, 1), ("Traffic Cone", 0.1, 0.1, 0.2, 0.2), classes=classes
    )
    (prediction,) = as_json(make_task(boxes=boxes))["predictions"]
    assert [region["value"]["rectanglelabels"] for region in prediction["result"]] == [["cone"]]


def test_predictions_are_valid_for_label_studio(as_json, make_task, detections, roadwork):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    parsed = interface.LabelInterface(label_config.labeling_config(roadwork))
    boxes = detections(("cone", 0.1, 0.2, 0.3, 0.4), ("sign", 0, 0, 1, 1))
    (prediction,) = as_json(make_task(boxes=boxes))["predictions"]
    assert parsed.validate_prediction(prediction, return_errors=True) == []
    wrong = json.loads(json.dumps(prediction).replace('"cone"', '"dragon"'))
    assert parsed.validate_prediction(wrong, return_errors=True) != []


SIZES = [(1, 1), (7, 9999), (10000, 3), (1280, 720), (4032, 3024)]


@pytest.mark.parametrize("size_wh", SIZES)
def test_label_studio_export_has_boxes_at_same_pixels(
    tmp_path, as_json, make_task, detections, roadwork, size_wh
):
    """The server's COCO export, with the pre-annotations as submitted annotations."""
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
    boxes = [row["bbox"] for row in coco["annotations"]]
    assert np.array(boxes) == pytest.approx(np.array(expected), abs=1e-4 * max(size_wh))
    by_id = {row["id"]: row["name"] for row in coco["categories"]}
    assert [by_id[row["category_id"]] for row in coco["annotations"]] == ["sign"] * 3
    assert [by_id[i] for i in range(len(roadwork.names))] == list(roadwork.names)


def test_key_depends_on_dataset_round_and_sample():
    keys = {
        task_json.task_key("roads", 1, "65f0"),
        task_json.task_key("roads", 2, "65f0"),
        task_json.task_key("roads", 1, "65f1"),
        task_json.task_key("roads/1", 1, "65f0"),
        task_json.task_key("straßen", 1, "65f0"),
    }
    assert len(keys) == 5
    assert task_json.task_key("roads", 1, "65f0") == "c7fcdcec314b2a02918f8ac3ce120473"  # stable


def plain(number, text=""):
    return {"data": {"task_key": str(number), "text": text}, "predictions": []}


def written(chunk):
    """Return the largest size of a request in bytes, over all ways of writing."""
    return max(
        len(json.dumps(chunk, ensure_ascii=escaped, separators=marks).encode())
        for escaped in (True, False)
        for marks in ((", ", ": "), (",", ":"))
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.lists(texts, max_size=20), st.integers(300, 900), st.integers(1, 7))
def test_chunks_keep_order_and_respect_limits(texts, max_bytes, max_count):
    tasks = [plain(i, text) for i, text in enumerate(texts)]
    chunks = list(chunked(tasks, max_bytes=max_bytes, max_count=max_count))
    assert [task for chunk in chunks for task in chunk] == tasks
    assert all(0 < len(chunk) <= max_count and written(chunk) <= max_bytes for chunk in chunks)
    for chunk, following in pairwise(chunks):  # no chunk is smaller than necessary
        assert len(chunk) == max_count or written([*chunk, following[0]]) > max_bytes


def test_tasks_are_consumed_lazily():
    consumed = []

    def endless():
        while True:
            consumed.append(len(consumed))
            yield plain(len(consumed))

    chunks = chunked(endless(), max_bytes=10_000, max_count=5)
    assert len(next(chunks)) == len(next(chunks)) == 5
    assert len(consumed) <= 11


def test_request_may_have_exactly_the_maximum_size():
    size = len(json.dumps([plain(1), plain(2)]))
    tasks = [plain(1), plain(2), plain(3)]
    assert [len(chunk) for chunk in chunked(tasks, max_bytes=size, max_count=9)] == [2, 1]
    assert [len(chunk) for chunk in chunked(tasks, max_bytes=size - 1, max_count=9)] == [1, 1, 1]


REFUSED = [
    pytest.param(plain(1, "x" * 500), {}, "task 1 has 5", id="a task larger than a request"),
    pytest.param(plain(1, float("nan")), {}, "as JSON", id="not a JSON number"),
    pytest.param(plain(1, object()), {}, "as JSON", id="not JSON"),
    pytest.param(plain(1), {"max_count": 0}, "1 or more, got 0", id="no task per request"),
]


@pytest.mark.parametrize(("task", "limits", "reason"), REFUSED)
def test_invalid_task_is_rejected(task, limits, reason):
    with pytest.raises(LabelingError, match=reason):
        list(chunked([task], **({"max_bytes": 500, "max_count": 5} | limits)))


def test_no_boxes_give_no_prediction(as_json, make_task):
    assert as_json(make_task(boxes=Detections.empty()))["predictions"] == []
