import numpy as np
import pytest
from scipy.stats import binomtest

from cascade.predictions import Detections
from curation.active_learning.evaluation import failure_yield
from curation.active_learning.evaluation.failure_yield import Comparison, arm_yield, compare, wilson

CLASSES = ("cone", "car")
CONE = ("cone", 0.1, 0.1, 0.3, 0.3)
NEAR = ("cone", 0.1, 0.1, 0.3, 0.29)  # IoU 0.95 with CONE
HALF = ("cone", 0.1, 0.1, 0.3, 0.2)  # IoU 0.5 with CONE
FAR = ("cone", 0.6, 0.6, 0.8, 0.8)
CAR = ("car", 0.1, 0.1, 0.3, 0.3)


def boxes(*rows):
    """Return boxes from rows of (label, x1, y1, x2, y2[, score])."""
    return Detections(
        boxes_xyxy=np.array([row[1:5] for row in rows], float).reshape(-1, 4),
        scores=np.array([row[5] if len(row) > 5 else 1.0 for row in rows]),
        class_ids=np.array([CLASSES.index(row[0]) for row in rows], np.int64),
        classes=CLASSES,
    )


TABLE = [
    pytest.param([], [], False, (False, 0, 0), id="no object, no box"),
    pytest.param([CONE], [NEAR], True, (False, 0, 0), id="detected"),
    pytest.param([CONE], [HALF], True, (False, 0, 0), id="detected at IoU 0.5 exactly"),
    pytest.param([CONE], [], False, (True, 1, 0), id="missed, so a wrong decision"),
    pytest.param([CONE], [FAR], True, (False, 1, 1), id="misplaced box is missed and false"),
    pytest.param([], [FAR], True, (True, 0, 1), id="box without object"),
    pytest.param([CONE], [CAR], True, (False, 1, 1), id="other class does not match"),
    pytest.param([CONE], [(*NEAR, 0.49)], True, (False, 1, 0), id="below 0.5 does not count"),
    pytest.param([CONE], [(*NEAR, 0.5)], True, (False, 0, 0), id="0.5 counts"),
    pytest.param([CONE], [NEAR, CONE], True, (False, 0, 1), id="second box on object is false"),
    pytest.param([CONE, FAR], [NEAR], True, (False, 1, 0), id="one of two"),
    pytest.param([CAR], [CAR], False, (False, 0, 0), id="class that does not decide"),
    pytest.param([CAR], [CAR], True, (True, 0, 0), id="right boxes, wrong decision"),
]


@pytest.mark.parametrize(("truth", "consensus", "says_yes", "expected"), TABLE)
def test_compare_counts_errors_of_image(truth, consensus, says_yes, expected):
    result = compare(boxes(*truth), boxes(*consensus), says_yes=says_yes, deciding=("cone",))
    assert (result.wrong_decision, result.missed, result.false) == expected
    assert result.is_failure == any(expected)


def test_arm_yield_sums_images():
    rows = [Comparison(True, 1, 0), Comparison(False, 0, 2), Comparison(False, 0, 0)]
    result = arm_yield(rows)
    assert (result.n, result.failures, result.wrong_decisions) == (3, 2, 1)
    assert (result.missed, result.false) == (1, 2)
    assert result.lower < 2 / 3 < result.upper


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (3, 10), (1, 1), (400, 1000)])
def test_wilson_interval_matches_scipy(successes, n):
    reference = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((reference.low, reference.high), abs=1e-6)


def test_wilson_interval_without_images_is_unbounded():
    assert wilson(0, 0) == (0.0, 1.0)
    assert failure_yield.arm_yield([]).n == 0
