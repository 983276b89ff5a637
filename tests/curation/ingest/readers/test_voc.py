"""Reading of small Pascal VOC files with known boxes."""

import pytest
from PIL import Image

from curation.errors import IngestError
from curation.ingest.readers import voc
from curation.ingest.records import ReaderOptions

SIZE = "<size><width>200</width><height>100</height></size>"


def box(name="cone", corners=(50, 25, 150, 75)):
    sides = "".join(
        f"<{side}>{value}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox></object>"


def xml(*objects, size=SIZE):
    return f"<annotation>{size}{''.join(objects)}</annotation>".encode()


def write_source(root, *, annotation, image):
    for path, data in ((root / annotation, xml(box())), (root / image, None)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            Image.new("RGB", (4, 2)).save(path)
        else:
            path.write_bytes(data)
    return root


def read(root):
    return voc.read(root, ReaderOptions(names=None, frames=root))


def test_boxes_are_relative_with_labels_and_size():
    boxes, size, reasons = voc.parse_labels(xml(box(), box("drum", (0, 0, 200, 100)), box()))
    assert boxes.labels == ["cone", "drum", "cone"]
    assert boxes.boxes_xyxy.tolist()[:2] == [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]]
    assert (size, reasons) == ((100, 200), [])


def test_annotation_without_objects_means_nothing_there():
    boxes, _, _ = voc.parse_labels(xml())
    assert len(boxes) == 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        pytest.param(box(corners=(5, 5, 5, 9)), "must have extent", id="no width"),
        pytest.param(box(corners=("a", 5, 6, 9)), "bndbox must have four numbers", id="no number"),
        pytest.param(
            "<object><name>cone</name></object>", "bndbox must have four numbers", id="no box"
        ),
        pytest.param(box().replace("name>", "label>"), "<name> is missing", id="no name"),
    ],
)
def test_malformed_object_is_left_out_with_reason(wrong, reason):
    boxes, _, reasons = voc.parse_labels(xml(box(), wrong))
    assert boxes.labels == ["cone"]
    assert reasons[0].startswith("object 2: ")
    assert reason in reasons[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(b"<annotation>", "cannot be read", id="cut off"),
        pytest.param(xml(box(), size=""), "<size/height> is missing", id="no size"),
        pytest.param(
            xml(size=SIZE.replace("200", "0")), "must have a size, got 0 x 100", id="no width"
        ),
        pytest.param(
            b'<!DOCTYPE a [<!ENTITY x "y">]>' + xml(),
            "document type",
            id="entities, a known attack",
        ),
    ],
)
def test_unreadable_annotation_labels_nothing(text, reason):
    boxes, _, reasons = voc.parse_labels(text)
    assert boxes is None
    assert reason in reasons[0]


@pytest.mark.parametrize(
    ("annotation", "image"),
    [
        pytest.param("Annotations/a.xml", "JPEGImages/a.jpg", id="the original VOC layout"),
        pytest.param("annotations/a.xml", "images/a.png", id="lower case"),
        pytest.param("train/a.xml", "train/a.JPG", id="next to the image"),
    ],
)
def test_common_layouts_are_found(tmp_path, annotation, image):
    (record,) = read(write_source(tmp_path, annotation=annotation, image=image)).records
    assert record.path == tmp_path / image
    assert record.boxes.labels == ["cone"]
    assert record.labeled_size_px == (100, 200)


def test_image_set_lists_are_splits(tmp_path):
    write_source(tmp_path, annotation="Annotations/a.xml", image="JPEGImages/a.jpg")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a  1\n")
    assert read(tmp_path).records[0].split == "val"


def test_image_without_xml_is_unlabeled_and_xml_without_image_recorded(tmp_path):
    write_source(tmp_path, annotation="Annotations/a.xml", image="JPEGImages/b.jpg")
    result = read(tmp_path)
    assert [(record.path.name, record.boxes) for record in result.records] == [("b.jpg", None)]
    assert result.absent[0].message == "The image of a.xml does not exist."


def test_folder_without_voc_says_what_is_expected(tmp_path):
    with pytest.raises(IngestError, match="has no VOC annotation"):
        read(tmp_path)
