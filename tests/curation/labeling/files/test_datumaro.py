import json

import pytest

from curation.errors import LabelingError
from curation.labeling.files import datumaro

BOX = {"id": 0, "type": "bbox", "label_id": 0, "bbox": [20, 10, 40, 30], "attributes": {}}
ITEM = {"id": "a", "annotations": [], "image": {"path": "a.jpg", "size": [100, 200]}}


def returned(items, labels=("cone",)):
    named = [{"name": one, "parent": "", "attributes": []} for one in labels]
    return json.dumps({"categories": {"label": {"labels": named}}, "items": items})


def parse(text, roadwork):
    sizes = {"a": (200, 100)}
    return datumaro.parse(text, origin="done.json", taxonomy=roadwork, sizes_wh=sizes)


ITEMS = [
    pytest.param(ITEM, id="as it was given"),
    pytest.param({"id": "a", "annotations": []}, id="without its image"),
    pytest.param(ITEM | {"id": "train/sub/a"}, id="with folders that a tool added"),
    pytest.param(ITEM | {"id": "tasks\\a"}, id="with folders of Windows"),
    pytest.param(ITEM | {"image": {"path": "a.jpg"}}, id="without its size"),
]


@pytest.mark.parametrize("item", ITEMS)
def test_pixels_become_relative(roadwork, item):
    found = parse(returned([item | {"annotations": [BOX]}]), roadwork)
    assert found["a"].boxes.labels == ["cone"]
    assert found["a"].boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4], rel=1e-12)


def test_a_copy_of_another_scale_is_measured_in_its_own_pixels(roadwork):
    item = ITEM | {"image": {"size": [50, 100]}, "annotations": [BOX | {"bbox": [10, 5, 20, 15]}]}
    found = parse(returned([item]), roadwork)
    assert found["a"].boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4], rel=1e-12)


def test_an_item_without_annotations_shows_nothing(roadwork):
    found = parse(returned([ITEM]), roadwork)
    assert (len(found["a"].boxes), found["a"].doubts) == (0, ())


def test_an_image_without_an_item_is_not_annotated(roadwork):
    assert parse(returned([]), roadwork) == {}


def test_of_strangers_only_the_name_is_taken(roadwork):
    found = parse(returned([ITEM | {"id": "b", "annotations": [BOX]}]), roadwork)
    assert (len(found["b"].boxes), found["b"].doubts) == (0, ())


DOUBTS = [
    pytest.param(ITEM | {"image": {"size": [200, 100]}}, BOX, "not turn it", id="lying"),
    pytest.param(ITEM | {"image": {"size": 7}}, BOX, "not turn it", id="no size"),
    pytest.param(ITEM, BOX | {"type": "polygon"}, "got 'polygon'", id="a polygon"),
    pytest.param(ITEM, 7, "got None", id="no annotation"),
    pytest.param(ITEM, BOX | {"label_id": 9}, "does not name this label", id="a label too far"),
    pytest.param(ITEM, BOX | {"label_id": -1}, "does not name this label", id="a label before 0"),
    pytest.param(ITEM, BOX | {"label_id": None}, "does not name this label", id="no label"),
    pytest.param(ITEM, BOX | {"bbox": [1, 2, 3]}, "must be four numbers", id="three numbers"),
    pytest.param(ITEM, BOX | {"bbox": None}, "must be four numbers", id="no box"),
]


@pytest.mark.parametrize(("item", "box", "reason"), DOUBTS)
def test_what_cannot_be_read_is_doubted(roadwork, item, box, reason):
    (found,) = parse(returned([item | {"annotations": [box]}]), roadwork).values()
    assert len(found.boxes) == 0
    assert reason in found.doubts[0].reason


def test_an_unknown_label_is_doubted(roadwork):
    found = parse(returned([ITEM | {"annotations": [BOX]}], labels=["dragon"]), roadwork)
    assert found["a"].doubts[0].what == "dragon"


NO_DATUMARO = [
    pytest.param("{", "JSONDecodeError", id="no JSON"),
    pytest.param("[]", "TypeError", id="a list"),
    pytest.param('{"items": []}', "KeyError: 'categories'", id="no categories"),
    pytest.param(returned([{"id": "a"}]), "KeyError: 'annotations'", id="no annotations"),
]


@pytest.mark.parametrize(("text", "what"), NO_DATUMARO)
def test_another_file_is_refused_by_name(roadwork, text, what):
    with pytest.raises(LabelingError, match=rf"done\.json is no Datumaro file: {what}"):
        parse(text, roadwork)


def test_an_image_that_is_listed_twice_is_refused(roadwork):
    with pytest.raises(LabelingError, match=r"lists the image a twice"):
        parse(returned([ITEM, ITEM | {"id": "sub/a"}]), roadwork)


def test_the_file_has_what_datumaro_asks_for(roadwork, detections):
    """As the library's own exporter writes it (compared with datumaro 1.13)."""
    images = [("x.y.jpg", 200, 100, detections(("drum", 0.1, 0.2, 0.3, 0.4)))]
    content = json.loads(datumaro.dump(images, classes=roadwork.names))
    assert {"dm_format_version", "media_type", "infos", "categories", "items"} == content.keys()
    (item,) = content["items"]
    assert (item["id"], item["image"]) == ("x.y", {"path": "x.y.jpg", "size": [100, 200]})
    (box,) = item["annotations"]
    assert box["bbox"] == pytest.approx([20, 20, 40, 20])
    assert content["categories"]["label"]["labels"][box["label_id"]]["name"] == "drum"
