import math

import pytest

from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box, build_submission

VALID = [
    pytest.param(Box("cone", 0.1, 0.2, 0.3, 0.4), "cone", id="a canonical label"),
    pytest.param(Box("Traffic_Cone", 0.1, 0.2, 0.3, 0.4), "cone", id="a synonym in other letters"),
    pytest.param(Box("drum", 0.5, 0.5, 0.5, 0.5), "drum", id="a point is still a box"),
]
INVALID = [
    pytest.param(Box("dragon", 0, 0, 1, 1), "no class 'dragon'", id="a label without a class"),
    pytest.param(Box("cone", 0.3, 0, 0.1, 1), "negative size", id="right side left of the left"),
    pytest.param(Box("cone", math.nan, 0, 1, 1), "not a finite number", id="a side that is NaN"),
    pytest.param(Box("cone", 0, 0, 1.5, 1), "far beyond", id="half of it outside"),
    pytest.param(Doubt("row 7", "no row"), "no row", id="already a doubt"),
]


@pytest.mark.parametrize(("box", "label"), VALID)
def test_valid_box_is_converted(roadwork, box, label):
    submission = build_submission([box], taxonomy=roadwork)
    assert submission.boxes.labels == [label]
    assert submission.boxes.scores.tolist() == [1.0]
    assert submission.doubts == ()


@pytest.mark.parametrize(("box", "reason"), INVALID)
def test_invalid_box_becomes_doubt_and_others_are_kept(roadwork, box, reason):
    submission = build_submission([box, Box("cone", 0, 0, 1, 1)], taxonomy=roadwork)
    assert submission.boxes.labels == ["cone"]
    (doubt,) = submission.doubts
    assert reason in doubt.reason


def test_box_slightly_over_border_is_clipped(roadwork):
    submission = build_submission([Box("cone", -0.01, 0.5, 0.5, 1.01)], taxonomy=roadwork)
    assert submission.boxes.boxes_xyxy.tolist() == [[0.0, 0.5, 0.5, 1.0]]


def test_empty_submission_means_nothing_there(roadwork):
    submission = build_submission([], taxonomy=roadwork)
    assert len(submission.boxes) == 0
    assert submission.boxes.classes == roadwork.names
