"""Validation and collection of votes."""

from dataclasses import replace

import numpy as np
import pytest

from cascade.errors import BadPredictionsError
from cascade.fusion.votes import Votes
from cascade.predictions import Detections

CLASSES = ("cone", "drum")


def two_votes():
    return Votes(
        image=np.array([0, 2]),
        member=np.array([1, 0]),
        class_id=np.array([0, 1]),
        p=np.array([0.9, 0.4]),
        boxes_xyxy=np.array([[0.0, 0.0, 0.1, 0.1], [0.2, 0.2, 0.4, 0.4]]),
        ran=np.array([[True, True], [True, True], [True, False]]),
        members=("a", "b"),
        classes=CLASSES,
    )


REFUSED = [
    pytest.param({"image": np.array([0])}, r"image must have shape \(2,\), got \(1,\)", id="rows"),
    pytest.param({"boxes_xyxy": np.zeros((2, 3))}, r"boxes_xyxy .* \(2, 4\)", id="corners"),
    pytest.param({"ran": np.ones((3, 1), bool)}, r"ran must have shape \(3, 2\)", id="ran"),
    pytest.param({"image": np.array([0, 3])}, r"image must be in 0\.\.2, got 0\.\.3", id="image"),
    pytest.param({"member": np.array([2, 0])}, r"member must be in 0\.\.1", id="member"),
    pytest.param({"class_id": np.array([-1, 0])}, r"class_id .* got -1\.\.0", id="class"),
    pytest.param({"image": np.array([2, 0])}, "sort the votes by image", id="order"),
    pytest.param({"p": np.array([0.5, 1.5])}, r"p must be in \[0, 1\], got 0.5..1.5", id="p"),
    pytest.param({"p": np.array([0.5, np.nan])}, r"p must be in \[0, 1\]", id="p is NaN"),
    pytest.param(
        {"member": np.array([1, 1])}, "ran must be true for every member", id="idle member"
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_inconsistent_votes_raise(change, message):
    with pytest.raises(BadPredictionsError, match=message):
        replace(two_votes(), **change)


def test_n_images_includes_images_without_votes():
    assert two_votes().n_images == 3


def test_collect_matches_classes_by_name():
    box = np.array([[0.0, 0.0, 0.5, 0.5]] * 3, np.float32)
    detections = Detections(
        boxes_xyxy=box,
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        class_ids=np.array([0, 1, 2]),
        classes=("drum", "tree", "cone"),
    )
    votes = Votes.collect({"a": [None, detections], "b": [Detections.empty(), None]}, CLASSES)
    assert votes.ran.tolist() == [[False, True], [True, False]]
    assert votes.image.tolist() == [1, 1]
    assert votes.member.tolist() == [0, 0]
    assert votes.class_id.tolist() == [1, 0]
    assert votes.p == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize(
    ("members", "shape"),
    [
        pytest.param({}, (0, 0), id="no members"),
        pytest.param({"a": [], "b": []}, (0, 2), id="no images"),
        pytest.param({"a": [Detections.empty(CLASSES)]}, (1, 1), id="no boxes"),
    ],
)
def test_collect_without_boxes(members, shape):
    votes = Votes.collect(members, CLASSES)
    assert votes.ran.shape == shape
    assert len(votes.p) == 0
    assert votes.boxes_xyxy.shape == (0, 4)


def test_collect_with_different_numbers_of_images_raises():
    with pytest.raises(ValueError, match="shorter"):
        Votes.collect({"a": [None, None], "b": [None]}, CLASSES)
