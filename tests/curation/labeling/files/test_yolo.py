import pytest
import torch
from torchvision.ops import box_convert

from curation.errors import LabelingError
from curation.labeling.files import yolo
from curation.labeling.files.returned import read_yolo, read_yolo_names


def test_row_is_class_center_and_size(detections):
    assert yolo.dump(detections(("drum", 0.25, 0.5, 0.75, 1.0))) == "1 0.5 0.75 0.5 0.5\n"


def test_no_boxes_are_an_empty_text(detections):
    assert yolo.dump(detections()) == ""


def test_convention_matches_torchvision(detections):
    corners = [0.1, 0.2, 0.4, 0.9]
    row = yolo.dump(detections(("cone", *corners))).split()[1:]
    centers = torch.tensor([[float(number) for number in row]])
    assert box_convert(centers, "cxcywh", "xyxy")[0].tolist() == pytest.approx(corners)


DOUBTS = [
    pytest.param("0 .5 .5 .1", "got 4", id="a number too few"),
    pytest.param("0 .5 .5 .1 .1 .9", "got 6", id="a prediction with its score"),
    pytest.param("cone .5 .5 .1 .1", "must be a number", id="a name for a class"),
    pytest.param("7 .5 .5 .1 .1", "0 to 6, got 7", id="a class after the last"),
    pytest.param("-1 .5 .5 .1 .1", "0 to 6, got -1", id="a class before the first"),
    pytest.param("0 .5 .5 -.1 .1", "negative size", id="a negative width"),
    pytest.param("0 nan .5 .1 .1", "not a finite number", id="NaN"),
]


@pytest.mark.parametrize(("row", "reason"), DOUBTS)
def test_malformed_row_is_doubted_and_others_kept(roadwork, row, reason):
    text = f"{row}\n\n1 0.5 0.5 0.2 0.2\n"
    submission = read_yolo(text, classes=roadwork.names, taxonomy=roadwork)
    assert submission.boxes.labels == ["drum"]
    assert reason in submission.doubts[0].reason


CLASSES = [
    pytest.param("data.yaml", "names: {0: cone, 1: drum}", id="a mapping"),
    pytest.param("data.yaml", "names: [cone, drum]", id="a list"),
    pytest.param("classes.txt", "cone\ndrum\n", id="one a line"),
]


@pytest.mark.parametrize(("origin", "text"), CLASSES)
def test_class_names_are_read_in_every_form(origin, text):
    assert read_yolo_names(text, origin=origin) == ["cone", "drum"]


def test_exported_class_names_are_read_back(roadwork):
    text = yolo.dump_names(roadwork.names)
    assert read_yolo_names(text, origin="data.yaml") == list(roadwork.names)


@pytest.mark.parametrize("text", ["nc: 3", "names: {1: cone}", "{", "7"])
def test_class_file_without_names_is_rejected(text):
    with pytest.raises(LabelingError, match=r"data\.yaml does not name the classes"):
        read_yolo_names(text, origin="data.yaml")
