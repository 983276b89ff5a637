import json

import pytest

from curation.errors import LabelingError
from curation.labeling.files import coco
from curation.labeling.files.returned import read_coco


def returned(images, annotations=(), categories=({"id": 1, "name": "cone"},), **info):
    content = {"images": images, "annotations": list(annotations), "categories": list(categories)}
    return json.dumps(content | ({"info": info} if info else {}))


def parse(text, roadwork, sizes_wh=None):
    sizes = {"a.jpg": (200, 100)} if sizes_wh is None else sizes_wh
    return read_coco(text, origin="done.json", taxonomy=roadwork, sizes_wh=sizes)


IMAGE = {"id": 7, "file_name": "a.jpg", "width": 200, "height": 100}
BOX = {"image_id": 7, "category_id": 1, "bbox": [20, 10, 40, 30]}

IMAGES = [
    pytest.param(IMAGE, id="as exported"),
    pytest.param({"id": 7, "file_name": "a.jpg"}, id="without its size"),
    pytest.param(IMAGE | {"file_name": "images/sub/a.jpg"}, id="with folders that a tool added"),
    pytest.param(IMAGE | {"file_name": "C:\\tasks\\a.jpg"}, id="with folders of Windows"),
]


@pytest.mark.parametrize("image", IMAGES)
def test_pixels_become_relative(roadwork, image):
    (submission,) = parse(returned([image], [BOX]), roadwork).values()
    assert submission.boxes.labels == ["cone"]
    assert submission.boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4], rel=1e-12)


def test_pixels_of_scaled_copy_refer_to_its_size(roadwork):
    image = IMAGE | {"width": 100, "height": 50}
    box = BOX | {"bbox": [10, 5, 20, 15]}
    (submission,) = parse(returned([image], [box]), roadwork).values()
    assert submission.boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4], rel=1e-12)


def test_listed_image_without_annotations_shows_nothing(roadwork):
    submissions = parse(returned([IMAGE]), roadwork)
    assert len(submissions["a.jpg"].boxes) == 0
    assert submissions["a.jpg"].doubts == ()


def test_unlisted_image_is_not_labeled(roadwork):
    assert parse(returned([]), roadwork) == {}


DOUBTS = [
    pytest.param(IMAGE | {"width": 100, "height": 200}, BOX, "not rotate the image", id="rotated"),
    pytest.param(IMAGE | {"width": 0, "height": 0}, BOX, "not rotate the image", id="no size"),
    pytest.param(IMAGE, BOX | {"category_id": 9}, "does not define category 9", id="category"),
    pytest.param(IMAGE, BOX | {"bbox": [1, 2, 3]}, "must be four numbers", id="three numbers"),
    pytest.param(IMAGE, BOX | {"bbox": None}, "must be four numbers", id="no box"),
]


@pytest.mark.parametrize(("image", "box", "reason"), DOUBTS)
def test_unreadable_content_is_doubted(roadwork, image, box, reason):
    (submission,) = parse(returned([image], [box]), roadwork).values()
    assert len(submission.boxes) == 0
    assert reason in submission.doubts[0].reason


OTHER_FORMATS = [
    pytest.param("{", "JSONDecodeError", id="not JSON"),
    pytest.param("[]", "TypeError", id="a list"),
    pytest.param('{"images": []}', "KeyError", id="no categories"),
    pytest.param(
        returned([], [BOX]),
        "annotations of unknown image ids: .'7'",
        id="a box of an image that is not there",
    ),
]


@pytest.mark.parametrize(("text", "reason"), OTHER_FORMATS)
def test_other_file_is_rejected_by_name(roadwork, text, reason):
    with pytest.raises(LabelingError, match=rf"done\.json is not a COCO detection file: {reason}"):
        parse(text, roadwork)


def test_image_listed_twice_is_rejected(roadwork):
    with pytest.raises(LabelingError, match=r"lists the image a\.jpg twice"):
        parse(returned([IMAGE, IMAGE | {"id": 8}]), roadwork)


def test_contributor_is_the_annotator(roadwork):
    (submission,) = parse(returned([IMAGE], contributor="Ada"), roadwork).values()
    assert submission.annotator == "Ada"


def test_faster_coco_eval_reads_exported_file(roadwork, detections, tmp_path):
    from faster_coco_eval import COCO

    boxes = detections(("drum", 0.1, 0.2, 0.3, 0.4), ("cone", 0.0, 0.0, 1.0, 1.0))
    path = tmp_path / "annotations.json"
    images = [("é.jpg", 200, 100, boxes), ("empty.jpg", 64, 48, detections())]
    path.write_text(coco.dump(images, classes=roadwork.names, description="test"))
    reference = COCO(str(path), print_function=lambda *_: None)
    assert [reference.imgs[i]["file_name"] for i in (1, 2)] == ["é.jpg", "empty.jpg"]
    first, second = reference.loadAnns(reference.getAnnIds(imgIds=[1]))
    assert first["bbox"] == pytest.approx([20, 20, 40, 20])
    assert reference.cats[second["category_id"]]["name"] == "cone"
