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
    pytest.param([], [], False, (False, 0, 0), id="nothing there, nothing said"),
    pytest.param([CONE], [NEAR], True, (False, 0, 0), id="found"),
    pytest.param([CONE], [HALF], True, (False, 0, 0), id="found at IoU 0.5 exactly"),
    pytest.param([CONE], [], False, (True, 1, 0), id="missed, and so decided wrongly"),
    pytest.param(
        [CONE], [FAR], True, (False, 1, 1), id="a box elsewhere is a miss and a false one"
    ),
    pytest.param([], [FAR], True, (True, 0, 1), id="a box on nothing"),
    pytest.param([CONE], [CAR], True, (False, 1, 1), id="another class is no match"),
    pytest.param([CONE], [(*NEAR, 0.49)], True, (False, 1, 0), id="unsure is not said"),
    pytest.param([CONE], [(*NEAR, 0.5)], True, (False, 0, 0), id="0.5 is said"),
    pytest.param([CONE], [NEAR, CONE], True, (False, 0, 1), id="the second box on it is false"),
    pytest.param([CONE, FAR], [NEAR], True, (False, 1, 0), id="one of two"),
    pytest.param([CAR], [CAR], False, (False, 0, 0), id="a car decides nothing"),
    pytest.param([CAR], [CAR], True, (True, 0, 0), id="right boxes, wrong decision"),
]


@pytest.mark.parametrize(("truth", "consensus", "says_yes", "expected"), TABLE)
def test_what_is_wrong_on_an_image(truth, consensus, says_yes, expected):
    found = compare(boxes(*truth), boxes(*consensus), says_yes=says_yes, deciding=("cone",))
    assert (found.wrong_decision, found.missed, found.false) == expected
    assert found.is_failure == any(expected)


def test_an_arm_sums_its_images():
    rows = [Comparison(True, 1, 0), Comparison(False, 0, 2), Comparison(False, 0, 0)]
    found = arm_yield(rows)
    assert (found.n, found.failures, found.wrong_decisions) == (3, 2, 1)
    assert (found.missed, found.false) == (1, 2)
    assert found.lower < 2 / 3 < found.upper


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (3, 10), (1, 1), (400, 1000)])
def test_the_interval_agrees_with_scipy(successes, n):
    reference = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((reference.low, reference.high), abs=1e-6)


def test_nothing_to_go_by_excludes_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert failure_yield.arm_yield([]).n == 0
