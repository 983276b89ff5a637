"""The figures by hand: one class, one object an image, found or not."""

from dataclasses import replace

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.active_learning.evaluation.frozen_set import FrozenSet
from curation.active_learning.evaluation.student_report import kept

N = 20
SPEEDS = {"ensemble": 40.0, "student": 10.0}


def boxes(n):
    return Detections(
        np.array([[0.1, 0.1, 0.4, 0.4]] * n, np.float32).reshape(-1, 4),
        np.ones(n, np.float32), np.zeros(n, np.int64), ("cone",),
    )  # fmt: skip


def frozen(drives=N):
    return FrozenSet(
        split="test",
        ids=tuple(map(str, range(N))),
        paths=tuple(map(str, range(N))),
        drives=tuple(f"drive{i % drives}" for i in range(N)),
        sizes_px=np.full((N, 2), 100, np.int64),
        truths=tuple(boxes(1) for _ in range(N)),
        slices={},
    )


def finds(n):
    """What finds the objects of the first n images, and nothing else."""
    return [boxes(1) if i < n else boxes(0) for i in range(N)]


def measured(ensemble, student, speeds=SPEEDS, **options):
    return kept(finds(ensemble), finds(student), frozen(**options), ("cone",), speeds, draws=200)


def test_a_student_that_finds_the_same_keeps_all_of_it():
    one = measured(N, N)
    assert (one.share, one.share_low, one.share_high) == pytest.approx((1, 1, 1))
    assert (one.ensemble_images_s, one.student_images_s) == (25, 100)
    assert one.times == 4
    assert one.lacks == ()
    assert one.sentence == (
        "The student keeps 100% (95%: 100% to 100%) of the ensemble's mAP50 on 20 test images "
        "of 20 drives, at 4.0 times its speed. 90% at 3 times the speed is kept."
    )


def test_a_student_that_finds_half_keeps_half():
    one = measured(N, N // 2)
    assert one.share == pytest.approx(51 / 101), "of COCO's 101 recalls"
    assert 0.2 < one.share_low < 0.5 < one.share_high < 0.8
    assert one.lacks == ("it keeps less than 90%",)
    assert "is not shown: it keeps less than 90%." in one.sentence


def test_a_share_whose_interval_reaches_below_shows_nothing():
    one = measured(N, N - 1)
    assert one.share > 0.9 > one.share_low
    assert one.lacks == ("the interval reaches below 90%",)


def test_equal_images_are_drawn_for_both():
    """Both miss the same ones: the share is sure, though neither figure is."""
    one = measured(N // 2, N // 2)
    assert (one.share_low, one.share_high) == pytest.approx((1, 1))


def test_a_few_drives_show_nothing():
    assert measured(N, N, drives=9).lacks == ("9 drives are too few, at least 10 are needed",)


@pytest.mark.parametrize("student", [14.0, None], ids=["too slow", "not timed"])
def test_speed_is_part_of_the_promise(student):
    one = measured(N, N, speeds={"ensemble": 40.0, "student": student})
    assert one.lacks == ("it is not 3 times as fast",)


def test_of_nothing_there_is_no_share():
    one = measured(0, N)
    assert (one.share, one.share_low) == (None, None)
    assert "an unknown share" in one.sentence
    assert "the ensemble finds nothing there" in one.sentence
    bare = replace(frozen(), truths=tuple(boxes(0) for _ in range(N)))
    without = kept(finds(N), finds(N), bare, ("cone",), SPEEDS, draws=10)
    assert (without.ensemble_map50, without.share) == (None, None)
