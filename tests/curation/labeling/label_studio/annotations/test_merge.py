"""Merging of several annotators on an image of 100 by 100 pixels."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.errors import LabelingError
from curation.labeling.label_studio.annotations import merge
from curation.labeling.label_studio.annotations.merge import Version, resolve

CLASSES = ("cone", "drum")
HERE = (10, 10, 20, 20)
MOVED = (12, 10, 22, 20)  # IoU with HERE: 80 / 120 = 0.67
FAR = (60, 60, 80, 80)


def boxes(*rows):
    """Return boxes from rows of (label, (x1, y1, x2, y2) in pixels)."""
    return Detections(
        boxes_xyxy=np.array([row for _, row in rows], float).reshape(-1, 4) / 100,
        scores=np.ones(len(rows), np.float32),
        class_ids=np.array([CLASSES.index(label) for label, _ in rows], np.int64),
        classes=CLASSES,
    )


def by(annotator, *rows, minute=0, seconds=None):
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return Version(annotator, boxes(*rows), when, seconds)


def rows(detections):
    """Return boxes as rows of label and corners in pixels."""
    return [
        (label, tuple(round(side * 100, 3) for side in box))
        for label, box in zip(detections.labels, detections.boxes_xyxy.tolist(), strict=True)
    ]


def test_single_annotator_is_kept_unchanged():
    alone = by("ann", ("cone", HERE), ("drum", FAR), seconds=4.0)
    result = resolve([alone])
    assert rows(result.boxes) == [("cone", HERE), ("drum", FAR)]
    assert result.boxes.scores.tolist() == [1, 1]
    assert (result.agreement, result.versions, result.seconds) == (1.0, (alone,), 4.0)


def test_three_annotators_give_median_corners():
    result = resolve([
        by("ann", ("cone", (10, 10, 20, 20))),
        by("bob", ("cone", (11, 9, 21, 20))),
        by("cyd", ("cone", (13, 10, 20, 22))),
    ])  # fmt: skip
    assert rows(result.boxes) == [("cone", (11, 10, 20, 20))]
    assert result.agreement == 1.0


def test_two_annotators_give_mean_corners():
    result = resolve([by("ann", ("cone", HERE)), by("bob", ("cone", MOVED))])
    assert rows(result.boxes) == [("cone", (11, 10, 21, 20))]


def test_box_of_one_in_three_is_left_out():
    result = resolve([
        by("ann", ("cone", HERE), ("drum", FAR)),
        by("bob", ("cone", HERE)),
        by("cyd", ("cone", HERE)),
    ])  # fmt: skip
    assert rows(result.boxes) == [("cone", HERE)]
    # F1: ann and bob 2/3, ann and cyd 2/3, bob and cyd 1
    assert result.agreement == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_box_of_one_in_two_is_kept():
    result = resolve([by("ann", ("cone", HERE)), by("bob")])
    assert rows(result.boxes) == [("cone", HERE)]
    assert result.agreement == 0.0


def test_empty_submissions_agree():
    result = resolve([by("ann"), by("bob")])
    assert (len(result.boxes), result.boxes.classes, result.agreement) == (0, CLASSES, 1.0)


def test_majority_class_wins():
    result = resolve(
        [by("ann", ("drum", HERE)), by("bob", ("cone", HERE)), by("cyd", ("drum", MOVED))]
    )
    assert rows(result.boxes) == [("drum", (11, 10, 21, 20))]
    assert result.doubts == ()
    assert result.agreement == pytest.approx(1 / 3)  # only ann and cyd agree


def test_tie_of_classes_is_a_doubt():
    result = resolve([by("bob", ("drum", HERE)), by("ann", ("cone", MOVED), ("cone", FAR))])
    assert rows(result.boxes) == [("cone", FAR)]
    (doubt,) = result.doubts
    assert doubt.subject == "cone or drum"
    assert "(cone: ann; drum: bob)" in doubt.reason


def test_place_with_split_classes_is_not_lost():
    """Four of five annotators see something; neither class has half of them."""
    people = [by("a", ("cone", HERE)), by("b", ("cone", HERE)), by("c", ("drum", HERE)), by("d")]
    assert rows(resolve([*people, by("e")]).boxes) == [("cone", HERE)]
    tied = resolve([*people, by("e", ("drum", HERE))])
    assert len(tied.boxes) == 0
    assert [doubt.subject for doubt in tied.doubts] == ["cone or drum"]


def test_annotator_may_draw_two_classes_in_one_place():
    drawn = (("cone", HERE), ("drum", MOVED))
    result = resolve([by("ann", *drawn), by("bob", *drawn)])
    assert rows(result.boxes) == [("cone", HERE), ("drum", MOVED)]
    assert (result.agreement, result.doubts) == (1.0, ())


def test_latest_version_is_used_and_all_time_counted():
    first = by("ann", ("cone", HERE), minute=1, seconds=10.0)
    last = by("ann", ("cone", FAR), minute=2, seconds=5.0)
    other = by("bob", ("cone", FAR), minute=0)
    result = resolve([last, other, first])
    assert rows(result.boxes) == [("cone", FAR)]
    assert result.versions == (last, other)
    assert (result.agreement, result.seconds) == (1.0, 15.0)


def test_unmeasured_time_is_none():
    assert resolve([by("ann")]).seconds is None


def test_result_is_independent_of_order():
    people = [
        by("ann", ("cone", HERE), ("cone", (24, 10, 34, 20))),
        by("bob", ("cone", MOVED), ("drum", FAR)),
        by("cyd", ("cone", (11, 10, 21, 21)), ("drum", FAR)),
    ]
    results = [resolve(order) for order in permutations(people)]
    assert len({str(rows(result.boxes)) for result in results}) == 1
    assert len({result.agreement for result in results}) == 1
    assert rows(results[0].boxes) == [("cone", (11, 10, 21, 20)), ("drum", FAR)]


def test_pairs_are_optimal_not_greedy():
    """A greedy match would pair b1 with its nearest, a2, and leave a1 and b2 unpaired."""
    a1, a2 = (0, 0, 10, 10), (3, 0, 13, 10)
    b1, b2 = (2, 0, 12, 10), (6, 0, 16, 10)  # IoU: a1-b1 .67, a2-b1 .82, a2-b2 .54, a1-b2 .25
    assert (
        merge.agreement([boxes(("cone", a1), ("cone", a2)), boxes(("cone", b1), ("cone", b2))]) == 1
    )
    assert merge.agreement([boxes(("cone", a1), ("cone", a2)), boxes(("cone", b1))]) == 2 / 3


def test_equal_boxes_are_paired_before_neighbors():
    """Three overlapping boxes in a row: a2 is b1, a3 is b2; a chain would give more pairs."""
    a = boxes(*(("cone", (x, 0, x + 10, 10)) for x in (0, 3, 6)))
    b = boxes(*(("cone", (x, 0, x + 10, 10)) for x in (3, 6, 9)))
    assert merge.agreement([a, b]) == 2 / 3


@pytest.mark.parametrize(
    ("other", "value"),
    [
        pytest.param((5, 0, 15, 10), 0.0, id="IoU 1/3"),
        pytest.param((0, 0, 10, 20), 1.0, id="IoU exactly 0.5"),
    ],
)
def test_boxes_match_from_iou_of_one_half(other, value):
    assert merge.agreement([boxes(("cone", (0, 0, 10, 10))), boxes(("cone", other))]) == value


def test_other_class_does_not_match():
    assert merge.agreement([boxes(("cone", HERE)), boxes(("drum", HERE))]) == 0.0


def test_no_submission_is_rejected():
    with pytest.raises(LabelingError, match="without a submission"):
        resolve([])


def test_classes_of_two_taxonomies_are_rejected():
    stranger = Version("bob", Detections.empty(("dog",)), datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(LabelingError, match="classes of one taxonomy"):
        resolve([by("ann"), stranger])
