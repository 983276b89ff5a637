from xml.etree import ElementTree

import pytest

from curation.errors import LabelingError
from curation.ingest.readers.voc import parse_labels
from curation.labeling.files import voc
from curation.labeling.files.returned import read_voc

BOX = "<xmin>20</xmin><ymin>10</ymin><xmax>60</xmax><ymax>40</ymax>"
CONE = f"<object><name>cone</name><bndbox>{BOX}</bndbox></object>"
SIZE = "<size><width>200</width><height>100</height></size>"


def parse(body, roadwork, size_wh=(200, 100)):
    text = f"<annotation>{body}</annotation>"
    return read_voc(text, origin="a.xml", taxonomy=roadwork, size_wh=size_wh)


GOOD = [
    pytest.param(SIZE + CONE, id="as exported"),
    pytest.param(CONE, id="without its size"),
    pytest.param(f"<path>C:/x</path>{SIZE}<odd/>{CONE}", id="with what tools add"),
    pytest.param(SIZE + CONE.replace(">20<", ">20.0<"), id="with decimals"),
]


@pytest.mark.parametrize("body", GOOD)
def test_pixels_become_relative(roadwork, body):
    submission = parse(body, roadwork)
    assert submission.boxes.labels == ["cone"]
    assert submission.boxes.boxes_xyxy[0] == pytest.approx([0.1, 0.1, 0.3, 0.4], rel=1e-12)


def test_pixels_of_scaled_copy_refer_to_its_size(roadwork):
    small = SIZE.replace("200", "100").replace(">100</h", ">50</h")
    submission = parse(small + CONE, roadwork)
    assert submission.boxes.boxes_xyxy[0] == pytest.approx([0.2, 0.2, 0.6, 0.8], rel=1e-12)


def test_annotation_without_objects_shows_nothing(roadwork):
    submission = parse(SIZE, roadwork)
    assert len(submission.boxes) == 0
    assert submission.doubts == ()


DOUBTS = [
    pytest.param(SIZE + CONE.replace("cone", "dragon"), "dragon", id="an unknown label"),
    pytest.param(SIZE + CONE.replace("<name>cone</name>", ""), "no class ''", id="no label"),
    pytest.param(SIZE + "<object><name>cone</name></object>", "four numbers", id="no box"),
    pytest.param(SIZE + CONE.replace(">20<", ">x<"), "four numbers", id="no number"),
    pytest.param(SIZE + CONE.replace(">20<", ">nan<"), "not a finite number", id="NaN"),
    pytest.param(SIZE + CONE.replace(">20<", ">80<"), "negative size", id="turned over"),
    pytest.param(SIZE + CONE.replace(">60<", ">260<"), "beyond the image", id="far outside"),
    pytest.param(
        "<size><width>9</width><height>90</height></size>", "not rotate", id="other shape"
    ),
    pytest.param("<size><width>x</width><height/></size>" + CONE, "not rotate", id="no size"),
    pytest.param("<object>", "not XML", id="not closed"),
]


@pytest.mark.parametrize(("body", "reason"), DOUBTS)
def test_unreadable_content_is_doubted(roadwork, body, reason):
    submission = parse(body, roadwork)
    assert len(submission.boxes) == 0
    assert reason in submission.doubts[0].reason


def test_entities_are_not_expanded(roadwork):
    text = '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
    submission = read_voc(text, origin="a.xml", taxonomy=roadwork, size_wh=None)
    assert "document type" in submission.doubts[0].reason


def test_other_xml_is_rejected(roadwork):
    with pytest.raises(LabelingError, match=r"a\.xml is not a VOC file.*got <annotations>"):
        read_voc("<annotations/>", origin="a.xml", taxonomy=roadwork, size_wh=None)


def test_ingest_reads_exported_file(detections):
    boxes = detections(("drum", 0.1, 0.2, 0.3, 0.4), ("cone", 0.0, 0.0, 1.0, 1.0))
    text = voc.dump("a & b.jpg", (200, 100), boxes)
    truth, size_px, reasons = parse_labels(text.encode())
    assert (size_px, reasons, truth.labels) == ((100, 200), [], ["drum", "cone"])
    assert truth.boxes_xyxy == pytest.approx(boxes.boxes_xyxy, abs=1e-6)


def test_characters_invalid_in_xml_are_replaced(detections):
    root = ElementTree.fromstring(voc.dump("a\x01\ud800.jpg", (9, 9), detections()))
    assert root.findtext("filename") == "a\ufffd\ufffd.jpg"


def test_label_map_has_one_row_per_class():
    assert voc.dump_label_map(["cone", "drum"]).splitlines()[1:] == ["cone:::", "drum:::"]
