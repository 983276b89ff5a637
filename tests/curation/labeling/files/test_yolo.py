import pytest
import torch
from torchvision.ops import box_convert

from curation.errors import LabelingError
from curation.labeling.files import yolo


def test_rows_are_class_center_and_size(detections):
    assert yolo.dump(detections(("drum", 0.25, 0.5, 0.75, 1.0))) == "1 0.5 0.75 0.5 0.5\n"


def test_nothing_there_is_an_empty_text(detections):
    assert yolo.dump(detections()) == ""


def test_torchvision_agrees_on_the_convention(detections):
    corners = [0.1, 0.2, 0.4, 0.9]
    row = yolo.dump(detections(("cone", *corners))).split()[1:]
    centred = torch.tensor([[float(one) for one in row]])
    assert box_convert(centred, "cxcywh", "xyxy")[0].tolist() == pytest.approx(corners)


DOUBTS = [
    pytest.param("0 .5 .5 .1", "got 4", id="a number too few"),
    pytest.param("0 .5 .5 .1 .1 .9", "got 6", id="a prediction with its score"),
    pytest.param("cone .5 .5 .1 .1", "no number", id="a name for a class"),
    pytest.param("7 .5 .5 .1 .1", "0 to 6, got 7", id="a class that nobody has"),
    pytest.param("-1 .5 .5 .1 .1", "0 to 6, got -1", id="a class before the first"),
    pytest.param("0 .5 .5 -.1 .1", "negative size", id="a negative width"),
    pytest.param("0 nan .5 .1 .1", "no number", id="NaN"),
]


@pytest.mark.parametrize(("row", "reason"), DOUBTS)
def test_a_malformed_row_is_doubted_and_the_others_stay(roadwork, row, reason):
    text = f"{row}\n\n1 0.5 0.5 0.2 0.2\n"
    submission = yolo.parse(text, classes=roadwork.names, taxonomy=roadwork)
    assert submission.boxes.labels == ["drum"]
    assert reason in submission.doubts[0].reason


CLASSES = [
    pytest.param("data.yaml", "names: {0: cone, 1: drum}", id="a mapping"),
    pytest.param("data.yaml", "names: [cone, drum]", id="a list"),
    pytest.param("classes.txt", "cone\ndrum\n", id="one a line"),
]


@pytest.mark.parametrize(("origin", "text"), CLASSES)
def test_class_names_are_read_in_every_form(origin, text):
    assert yolo.parse_classes(text, origin=origin) == ["cone", "drum"]


def test_our_own_class_file_reads_back(roadwork):
    text = yolo.dump_classes(roadwork.names)
    assert yolo.parse_classes(text, origin="data.yaml") == list(roadwork.names)


@pytest.mark.parametrize("text", ["nc: 3", "names: {1: cone}", "{", "7"])
def test_a_class_file_without_names_is_refused(text):
    with pytest.raises(LabelingError, match=r"data\.yaml does not name the classes"):
        yolo.parse_classes(text, origin="data.yaml")
