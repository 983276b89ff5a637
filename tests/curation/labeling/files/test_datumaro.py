import json

import pytest

from curation.errors import LabelingError
from curation.labeling.files import datumaro
from curation.labeling.files.returned import read_datumaro

BOX = {"id": 0, "type": "bbox", "label_id": 0, "bbox": [20, 10, 40, 30], "attributes": {}}
ITEM = {"id": "a", "annotations": [], "image": {"path": "a.jpg", "size": [100, 200]}}


def returned(items, labels=("cone",)):
    named = [{"name": name, "parent": "", "attributes": []} for name in labels]
    return json.dumps({"categories": {"label": {"labels": named}}, "items": items})


def parse(text, roadwork):
    sizes = {"a": (200, 100)}
    return read_datumaro(text, origin="done.json", taxonomy=roadwork, sizes_wh=sizes)


ITEMS = [
    pytest.param(ITEM, id="as exported"),
    pytest.param({"id": "a", "annotations": []}, id="without its image"),
    pytest.param(ITEM | {"id": "train/sub/a"}, id="with folders that a tool added"),
    pytest.param(ITEM | {"id": "tasks\\a"}, id="with folders of Windows"),
    pytest.param(ITEM | {"image": {"path": "a.jpg"}}, id="without its size"),
]


@pytest.mark.parametrize("item", ITEMS)
def test_pixels_become_relative(roadwork, item):
    submissions = parse(returned([item | {"annotations": [BOX]}]), roadwork)
    assert submissions["a"].boxes.labels == ["cone"]
    assert submissions["a"].boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4], rel=1e-12)


def test_pixels_of_scaled_copy_refer_to_its_size(roadwork):
    item = ITEM | {"image": {"size": [50, 100]}, "annotations": [BOX | {"bbox": [10, 5, 20, 15]}]}
    submissions = parse(returned([item]), roadwork)
    assert submissions["a"].boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4], rel=1e-12)


def test_item_without_annotations_shows_nothing(roadwork):
    submissions = parse(returned([ITEM]), roadwork)
    assert (len(submissions["a"].boxes), submissions["a"].doubts) == (0, ())


def test_image_without_item_is_not_labeled(roadwork):
    assert parse(returned([]), roadwork) == {}


def test_unknown_item_has_only_its_name(roadwork):
    submissions = parse(returned([ITEM | {"id": "b", "annotations": [BOX]}]), roadwork)
    assert (len(submissions["b"].boxes), submissions["b"].doubts) == (0, ())


DOUBTS = [
    pytest.param(ITEM | {"image": {"size": [200, 100]}}, BOX, "not rotate the image", id="rotated"),
    pytest.param(ITEM | {"image": {"size": 7}}, BOX, "not rotate the image", id="no size"),
    pytest.param(ITEM, BOX | {"type": "polygon"}, "got 'polygon'", id="a polygon"),
    pytest.param(ITEM, 7, "got None", id="not an annotation"),
    pytest.param(ITEM, BOX | {"label_id": 9}, "does not define label 9", id="a label too large"),
    pytest.param(ITEM, BOX | {"label_id": -1}, "does not define label -1", id="a negative label"),
    pytest.param(ITEM, BOX | {"label_id": None}, "does not define label None", id="no label"),
    pytest.param(ITEM, BOX | {"bbox": [1, 2, 3]}, "must be four numbers", id="three numbers"),
    pytest.param(ITEM, BOX | {"bbox": None}, "must be four numbers", id="no box"),
]


@pytest.mark.parametrize(("item", "box", "reason"), DOUBTS)
def test_unreadable_content_is_doubted(roadwork, item, box, reason):
    (submission,) = parse(returned([item | {"annotations": [box]}]), roadwork).values()
    assert len(submission.boxes) == 0
    assert reason in submission.doubts[0].reason


def test_unknown_label_is_doubted(roadwork):
    submissions = parse(returned([ITEM | {"annotations": [BOX]}], labels=["dragon"]), roadwork)
    assert submissions["a"].doubts[0].subject == "dragon"


OTHER_FORMATS = [
    pytest.param("{", "JSONDecodeError", id="not JSON"),
    pytest.param("[]", "TypeError", id="a list"),
    pytest.param('{"items": []}', "KeyError: 'categories'", id="no categories"),
    pytest.param(returned([{"id": "a"}]), "KeyError: 'annotations'", id="no annotations"),
]


@pytest.mark.parametrize(("text", "reason"), OTHER_FORMATS)
def test_other_file_is_rejected_by_name(roadwork, text, reason):
    with pytest.raises(LabelingError, match=rf"done\.json is not a Datumaro file: {reason}"):
        parse(text, roadwork)


def test_image_listed_twice_is_rejected(roadwork):
    with pytest.raises(LabelingError, match=r"lists the image a twice"):
        parse(returned([ITEM, ITEM | {"id": "sub/a"}]), roadwork)


def test_file_has_structure_of_datumaro(roadwork, detections):
    """Same structure as written by datumaro 1.13."""
    images = [("x.y.jpg", 200, 100, detections(("drum", 0.1, 0.2, 0.3, 0.4)))]
    content = json.loads(datumaro.dump(images, classes=roadwork.names))
    assert {"dm_format_version", "media_type", "infos", "categories", "items"} == content.keys()
    (item,) = content["items"]
    assert (item["id"], item["image"]) == ("x.y", {"path": "x.y.jpg", "size": [100, 200]})
    (box,) = item["annotations"]
    assert box["bbox"] == pytest.approx([20, 20, 40, 20])
    assert content["categories"]["label"]["labels"][box["label_id"]]["name"] == "drum"
