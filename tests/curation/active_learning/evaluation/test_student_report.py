"""Student reports for one class and one object per image."""

from dataclasses import replace

import numpy as np
import pytest

from cascade.predictions import Detections
from curation.active_learning.evaluation.frozen_set import FrozenSet
from curation.active_learning.evaluation.student_report import compare_student

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
    """Detections of the objects in the first n images."""
    return [boxes(1) if i < n else boxes(0) for i in range(N)]


def measured(ensemble, student, speeds=SPEEDS, **options):
    return compare_student(
        finds(ensemble), finds(student), frozen(**options), ("cone",), speeds, draws=200
    )


def test_equal_student_keeps_full_share():
    report = measured(N, N)
    assert (report.share, report.share_low, report.share_high) == pytest.approx((1, 1, 1))
    assert (report.ensemble_images_s, report.student_images_s) == (25, 100)
    assert report.speedup == 4
    assert report.shortfalls == ()
    assert report.sentence == (
        "The student keeps 100% (95%: 100% to 100%) of the ensemble's mAP50 on 20 test images "
        "of 20 drives, at 4.0 times its speed. 90% at 3 times the speed is kept."
    )


def test_student_with_half_recall_falls_short():
    report = measured(N, N // 2)
    assert report.share == pytest.approx(51 / 101), "of COCO's 101 recalls"
    assert 0.2 < report.share_low < 0.5 < report.share_high < 0.8
    assert report.shortfalls == ("it keeps less than 90%",)
    assert "is not shown: it keeps less than 90%." in report.sentence


def test_wide_interval_falls_short():
    report = measured(N, N - 1)
    assert report.share > 0.9 > report.share_low
    assert report.shortfalls == ("the interval reaches below 90%",)


def test_bootstrap_draws_same_images_for_both_models():
    """Both miss the same images: the share is certain, although both metrics are not."""
    report = measured(N // 2, N // 2)
    assert (report.share_low, report.share_high) == pytest.approx((1, 1))


def test_few_drives_fall_short():
    assert measured(N, N, drives=9).shortfalls == ("9 drives are too few, at least 10 are needed",)


@pytest.mark.parametrize("student", [14.0, None], ids=["too slow", "not measured"])
def test_slow_student_falls_short(student):
    report = measured(N, N, speeds={"ensemble": 40.0, "student": student})
    assert report.shortfalls == ("it is not 3 times as fast",)


def test_share_is_undefined_without_detections():
    report = measured(0, N)
    assert (report.share, report.share_low) == (None, None)
    assert "an unknown share" in report.sentence
    assert "the share is undefined: the ensemble detects no object" in report.sentence
    unlabeled = replace(frozen(), truths=tuple(boxes(0) for _ in range(N)))
    undefined = compare_student(finds(N), finds(N), unlabeled, ("cone",), SPEEDS, draws=10)
    assert (undefined.ensemble_map50, undefined.share) == (None, None)
