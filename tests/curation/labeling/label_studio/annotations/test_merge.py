"""Ground truth of several people, checked by hand on an image of 100 by 100."""

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


def rows(found):
    """Return what was found as rows, in whole pixels."""
    return [
        (label, tuple(round(side * 100, 3) for side in box))
        for label, box in zip(found.labels, found.boxes_xyxy.tolist(), strict=True)
    ]


def test_one_person_is_taken_as_it_is():
    alone = by("ann", ("cone", HERE), ("drum", FAR), seconds=4.0)
    found = resolve([alone])
    assert rows(found.boxes) == [("cone", HERE), ("drum", FAR)]
    assert found.boxes.scores.tolist() == [1, 1]
    assert (found.agreement, found.versions, found.seconds) == (1.0, (alone,), 4.0)


def test_three_people_give_the_median_corners():
    found = resolve([
        by("ann", ("cone", (10, 10, 20, 20))),
        by("bob", ("cone", (11, 9, 21, 20))),
        by("cyd", ("cone", (13, 10, 20, 22))),
    ])  # fmt: skip
    assert rows(found.boxes) == [("cone", (11, 10, 20, 20))]
    assert found.agreement == 1.0


def test_two_people_give_the_mean_corners():
    found = resolve([by("ann", ("cone", HERE)), by("bob", ("cone", MOVED))])
    assert rows(found.boxes) == [("cone", (11, 10, 21, 20))]


def test_what_one_of_three_drew_is_left_out():
    found = resolve([
        by("ann", ("cone", HERE), ("drum", FAR)),
        by("bob", ("cone", HERE)),
        by("cyd", ("cone", HERE)),
    ])  # fmt: skip
    assert rows(found.boxes) == [("cone", HERE)]
    # F1: ann and bob 2/3, ann and cyd 2/3, bob and cyd 1
    assert found.agreement == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_what_one_of_two_drew_stays():
    found = resolve([by("ann", ("cone", HERE)), by("bob")])
    assert rows(found.boxes) == [("cone", HERE)]
    assert found.agreement == 0.0


def test_people_who_all_see_nothing_agree():
    found = resolve([by("ann"), by("bob")])
    assert (len(found.boxes), found.boxes.classes, found.agreement) == (0, CLASSES, 1.0)


def test_the_class_that_more_people_say_wins():
    found = resolve(
        [by("ann", ("drum", HERE)), by("bob", ("cone", HERE)), by("cyd", ("drum", MOVED))]
    )
    assert rows(found.boxes) == [("drum", (11, 10, 21, 20))]
    assert found.doubts == ()
    assert found.agreement == pytest.approx(1 / 3)  # only ann and cyd agree


def test_equally_many_for_two_classes_decide_nothing():
    found = resolve([by("bob", ("drum", HERE)), by("ann", ("cone", MOVED), ("cone", FAR))])
    assert rows(found.boxes) == [("cone", FAR)]
    (doubt,) = found.doubts
    assert doubt.what == "cone or drum"
    assert "(cone: ann; drum: bob)" in doubt.reason


def test_a_place_that_most_see_is_not_lost_because_they_name_it_differently():
    """Of five, four see something; neither class has half of them."""
    people = [by("a", ("cone", HERE)), by("b", ("cone", HERE)), by("c", ("drum", HERE)), by("d")]
    assert rows(resolve([*people, by("e")]).boxes) == [("cone", HERE)]
    tied = resolve([*people, by("e", ("drum", HERE))])
    assert len(tied.boxes) == 0
    assert [one.what for one in tied.doubts] == ["cone or drum"]


def test_a_person_may_see_two_classes_in_one_place():
    both = (("cone", HERE), ("drum", MOVED))
    found = resolve([by("ann", *both), by("bob", *both)])
    assert rows(found.boxes) == [("cone", HERE), ("drum", MOVED)]
    assert (found.agreement, found.doubts) == (1.0, ())


def test_the_latest_of_a_person_holds_and_all_their_time_counts():
    first = by("ann", ("cone", HERE), minute=1, seconds=10.0)
    last = by("ann", ("cone", FAR), minute=2, seconds=5.0)
    other = by("bob", ("cone", FAR), minute=0)
    found = resolve([last, other, first])
    assert rows(found.boxes) == [("cone", FAR)]
    assert found.versions == (last, other)
    assert (found.agreement, found.seconds) == (1.0, 15.0)


def test_time_that_nobody_measured_is_unknown():
    assert resolve([by("ann")]).seconds is None


def test_the_order_of_arrival_changes_nothing():
    people = [
        by("ann", ("cone", HERE), ("cone", (24, 10, 34, 20))),
        by("bob", ("cone", MOVED), ("drum", FAR)),
        by("cyd", ("cone", (11, 10, 21, 21)), ("drum", FAR)),
    ]
    results = [resolve(order) for order in permutations(people)]
    assert len({str(rows(one.boxes)) for one in results}) == 1
    assert len({one.agreement for one in results}) == 1
    assert rows(results[0].boxes) == [("cone", (11, 10, 21, 20)), ("drum", FAR)]


def test_pairs_are_chosen_together_and_not_one_by_one():
    """Greedily, b would take its nearest, a2, and leave a1 and b2 alone."""
    a1, a2 = (0, 0, 10, 10), (3, 0, 13, 10)
    b1, b2 = (2, 0, 12, 10), (6, 0, 16, 10)  # IoU: a1-b1 .67, a2-b1 .82, a2-b2 .54, a1-b2 .25
    assert (
        merge.agreement([boxes(("cone", a1), ("cone", a2)), boxes(("cone", b1), ("cone", b2))]) == 1
    )
    assert merge.agreement([boxes(("cone", a1), ("cone", a2)), boxes(("cone", b1))]) == 2 / 3


def test_equal_boxes_are_paired_and_not_their_neighbours():
    """Three overlapping in a row: a2 is b1, a3 is b2; a chain of neighbours would be more pairs."""
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
def test_boxes_match_from_half_an_overlap_on(other, value):
    assert merge.agreement([boxes(("cone", (0, 0, 10, 10))), boxes(("cone", other))]) == value


def test_another_class_is_no_match():
    assert merge.agreement([boxes(("cone", HERE)), boxes(("drum", HERE))]) == 0.0


def test_nobody_gives_no_ground_truth():
    with pytest.raises(LabelingError, match="no submission"):
        resolve([])


def test_classes_of_two_taxonomies_are_refused():
    stranger = Version("bob", Detections.empty(("dog",)), datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(LabelingError, match="classes of one taxonomy"):
        resolve([by("ann"), stranger])
