import math

import pytest

from curation.labeling.protocol import Doubt
from curation.labeling.submissions import Box, understand

UNDERSTOOD = [
    pytest.param(Box("cone", 0.1, 0.2, 0.3, 0.4), "cone", id="a canonical label"),
    pytest.param(Box("Traffic_Cone", 0.1, 0.2, 0.3, 0.4), "cone", id="a synonym in other letters"),
    pytest.param(Box("drum", 0.5, 0.5, 0.5, 0.5), "drum", id="a point is still a box"),
]
DOUBTFUL = [
    pytest.param(Box("dragon", 0, 0, 1, 1), "called 'dragon'", id="a label without a class"),
    pytest.param(Box("cone", 0.3, 0, 0.1, 1), "negative size", id="right side left of the left"),
    pytest.param(Box("cone", math.nan, 0, 1, 1), "no number", id="a side that is NaN"),
    pytest.param(Box("cone", 0, 0, 1.5, 1), "far beyond", id="half of it outside"),
    pytest.param(Doubt("row 7", "no row"), "no row", id="doubted already"),
]


@pytest.mark.parametrize(("box", "label"), UNDERSTOOD)
def test_what_is_understood_becomes_a_box(roadwork, box, label):
    submission = understand([box], taxonomy=roadwork)
    assert submission.boxes.labels == [label]
    assert submission.boxes.scores.tolist() == [1.0]
    assert submission.doubts == ()


@pytest.mark.parametrize(("box", "reason"), DOUBTFUL)
def test_what_is_not_understood_becomes_a_doubt_and_the_rest_stays(roadwork, box, reason):
    submission = understand([box, Box("cone", 0, 0, 1, 1)], taxonomy=roadwork)
    assert submission.boxes.labels == ["cone"]
    (doubt,) = submission.doubts
    assert reason in doubt.reason


def test_a_hand_that_slipped_over_the_border_is_set_back(roadwork):
    submission = understand([Box("cone", -0.01, 0.5, 0.5, 1.01)], taxonomy=roadwork)
    assert submission.boxes.boxes_xyxy.tolist() == [[0.0, 0.5, 0.5, 1.0]]


def test_nothing_submitted_is_nothing_there(roadwork):
    submission = understand([], taxonomy=roadwork)
    assert len(submission.boxes) == 0
    assert submission.boxes.classes == roadwork.names
